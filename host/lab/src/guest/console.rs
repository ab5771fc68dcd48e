//! Reads a guest's console: kernel reports, divided by markers. Pure.

use memchr::memmem::Finder;

use vmlab_console::{ConsoleReader, Finding};

/// A guest's console.
#[derive(Debug, Default)]
pub(crate) struct GuestConsole {
    bytes: u64,
    pub(crate) reader: ConsoleReader,
    awaited: Option<Awaited>,
    before: Option<Before>,
}

/// A marker that the guest's kernel has to print.
#[derive(Debug)]
struct Awaited {
    finder: Finder<'static>,
    /// The last bytes of the console, which may be the first part of the marker.
    carry: Vec<u8>,
}

/// The kernel's reports before a marker.
#[derive(Debug)]
pub(crate) struct Before {
    /// All warnings that the host has not processed yet.
    pub(crate) warnings: Vec<Finding>,
    /// Whether the kernel had crashed.
    pub(crate) crashed: bool,
}

impl Awaited {
    /// The position in `bytes` after the marker. `bytes` continue the bytes of earlier calls.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let length = self.finder.needle().len();
        let carried = self.carry.len();
        // The marker either begins in earlier bytes, or is completely within these.
        self.carry.extend_from_slice(&bytes[..bytes.len().min(length)]);
        let end = self.finder.find(&self.carry).map(|at| at + length - carried);
        let end = end.or_else(|| self.finder.find(bytes).map(|at| at + length));
        if bytes.len() > length {
            self.carry.clear();
            self.carry.extend_from_slice(&bytes[bytes.len() - length..]);
        } else {
            self.carry.drain(..self.carry.len().saturating_sub(length));
        }
        end
    }
}

impl GuestConsole {
    /// Waits for a marker. When it appears, the kernel's reports before it are separated from later ones.
    pub(crate) fn await_marker(&mut self, marker: &str) {
        self.before = None;
        self.awaited = Some(Awaited { finder: Finder::new(marker).into_owned(), carry: Vec::new() });
    }

    /// Whether the console waits for a marker.
    pub(crate) const fn awaits_marker(&self) -> bool {
        self.awaited.is_some()
    }

    /// The kernel's reports before the marker, once the console has reached it.
    pub(crate) const fn before(&self) -> Option<&Before> {
        self.before.as_ref()
    }

    /// Takes [`Self::before`].
    pub(crate) fn take_before(&mut self) -> Option<Before> {
        self.before.take()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let end = self.awaited.as_mut().and_then(|awaited| awaited.end(bytes));
        let (before, after) = bytes.split_at(end.unwrap_or_default());
        if end.is_some() {
            self.awaited = None;
            self.reader.push(before);
            // Text before the marker on the same line was printed before the marker.
            self.reader.end_line();
            let (warnings, crashed) = (self.reader.take_warnings(), self.reader.crash().is_some());
            self.before = Some(Before { warnings, crashed });
        }
        self.reader.push(after);
        self.bytes += bytes.len() as u64;
    }

    /// The number of bytes that the guest has written.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_byte_by_byte_and_a_crash_before_it_is_known() {
        for is_before in [true, false] {
            let (marker, crash) = ("vmlab: wowo", "[    1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2\n");
            let line = format!("[    1.0] vmlab: wo{marker}\n");
            let console = if is_before { [crash, &line] } else { [&line, crash] }.concat();
            let mut log = GuestConsole::default();
            log.await_marker(marker);
            console.as_bytes().chunks(1).for_each(|byte| log.push(byte));
            assert_eq!(log.take_before().map(|before| before.crashed), Some(is_before));
            assert!(log.reader.crash().is_some());
        }
    }

    #[test]
    fn a_marker_divides_the_console_wherever_its_bytes_are_split() {
        let marker = "vmlab: mark ma";
        let warned = |name: &str| format!("[    1.0] WARNING: CPU: 0 PID: 1 at {name}.c:1 f+0x1/0x2\r\n");
        let console = format!("{}half a m vmlab: mark vmlab: mark ma\r\n{}", warned("a").trim_end(), warned("b"));
        for first in 0..console.len() {
            for second in [first, (first + 3).min(console.len()), console.len()] {
                let mut log = GuestConsole::default();
                log.await_marker(marker);
                for part in [&console[..first], &console[first..second], &console[second..]] {
                    assert!(log.awaits_marker() == log.before.is_none());
                    log.push(part.as_bytes());
                }
                let titles = |found: &[Finding]| found.iter().map(|f| f.title.clone()).collect::<Vec<_>>();
                let before = log.take_before().expect("the marker has come");
                assert!(!log.awaits_marker() && !before.crashed && log.take_before().is_none());
                assert_eq!(before.warnings.len(), 1, "{:?}", titles(&before.warnings));
                assert!(titles(&before.warnings)[0].contains("a.c:1"));
                let after = log.reader.take_warnings();
                assert!(after.len() == 1 && titles(&after)[0].contains("b.c:1"), "{:?}", titles(&after));
            }
        }
    }
}
