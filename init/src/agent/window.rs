//! The bookkeeping of a command's streams: each side holds at most [`WINDOW`] bytes per stream that the receiver has not taken. Pure.

use std::collections::VecDeque;

use vmlab_protocol::command::WINDOW;

/// The output of a stream that may be sent.
#[derive(Debug)]
pub(super) struct Window {
    /// Sent, and not taken by the host.
    on_the_way: u64,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { on_the_way: 0 }
    }

    /// Bytes that may be sent.
    pub(super) fn room(&self) -> usize {
        usize::try_from(WINDOW.saturating_sub(self.on_the_way)).unwrap_or(usize::MAX)
    }

    pub(super) const fn sent(&mut self, bytes: usize) {
        self.on_the_way += bytes as u64;
    }

    pub(super) const fn taken(&mut self, bytes: u64) {
        self.on_the_way = self.on_the_way.saturating_sub(bytes);
    }
}

/// The input that the command has not read.
#[derive(Debug)]
pub(super) struct Pending {
    bytes: VecDeque<u8>,
    /// Taken, and not reported to the host.
    unreported: u64,
}

/// The host has sent more than it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overrun;

impl Pending {
    pub(super) const fn new() -> Self {
        Self { bytes: VecDeque::new(), unreported: 0 }
    }

    pub(super) fn add(&mut self, data: &[u8]) -> Result<(), Overrun> {
        let held = self.bytes.len() as u64 + self.unreported;
        if held + data.len() as u64 > WINDOW {
            return Err(Overrun);
        }
        self.bytes.extend(data);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes to write next; empty only if there are none.
    pub(super) fn front(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// Removes bytes from the front.
    pub(super) fn take(&mut self, count: usize) {
        let count = count.min(self.bytes.len());
        self.bytes.drain(..count);
        self.unreported += count as u64;
    }

    /// Bytes to report to the host now: seldom while much is left, so that reports stay few.
    pub(super) fn report(&mut self) -> Option<u64> {
        let is_due = self.unreported >= WINDOW / 4 || (self.unreported > 0 && self.bytes.is_empty());
        is_due.then(|| std::mem::take(&mut self.unreported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 256 << 10;

    #[test]
    fn a_window_is_the_protocols() {
        assert_eq!(SIZE as u64, WINDOW);
        let mut window = Window::new();
        assert_eq!(window.room(), SIZE);
        window.sent(SIZE - 1);
        assert_eq!(window.room(), 1);
        window.sent(1);
        assert_eq!(window.room(), 0);
        window.taken(100);
        assert_eq!(window.room(), 100);
        window.taken(u64::MAX);
        assert_eq!(window.room(), SIZE);
    }

    #[test]
    fn input_is_held_up_to_a_window_and_reported_in_large_parts() {
        let mut pending = Pending::new();
        assert_eq!(pending.report(), None);
        pending.add(&vec![1; SIZE]).unwrap();
        assert_eq!(pending.add(&[2]), Err(Overrun));
        pending.take(100);
        assert_eq!(pending.add(&[2]), Err(Overrun), "the host does not know yet that 100 bytes were taken");
        assert_eq!(pending.report(), None);
        pending.take(SIZE / 4 - 100);
        assert_eq!(pending.report(), Some(WINDOW / 4));
        pending.add(&vec![2; SIZE / 4]).unwrap();
        while !pending.is_empty() {
            pending.take(pending.front().len());
        }
        assert_eq!(pending.report(), Some(WINDOW));
        assert_eq!(pending.report(), None);
    }

    #[test]
    fn input_comes_out_in_order() {
        let mut pending = Pending::new();
        let (mut sent, mut received) = (0_u8, Vec::new());
        for round in 1..200 {
            let data: Vec<u8> = (0..round)
                .map(|_| {
                    sent = sent.wrapping_add(1);
                    sent
                })
                .collect();
            pending.add(&data).unwrap();
            let count = pending.front().len().min(round * 2 / 3 + 1);
            received.extend_from_slice(&pending.front()[..count]);
            pending.take(count);
            pending.report();
        }
        assert!(received.iter().zip(received.iter().skip(1)).all(|(a, b)| a.wrapping_add(1) == *b));
    }
}
