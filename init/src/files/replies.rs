//! Cuts the host's stream into FUSE messages. Pure.

/// The largest message: 1 MiB of data behind its headers (`FUSE_MAX_MAX_PAGES` in fs/fuse/fuse_i.h).
pub(super) const MAX_MESSAGE: usize = (1 << 20) + 4096;

/// The length of `fuse_out_header`.
const HEADER: usize = 16;

/// A buffer of one message of the largest size.
#[derive(Debug)]
pub(super) struct Replies {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were received.
    filled: usize,
    /// Bytes at the front that were taken.
    used: usize,
}

/// The stream announces a message of this length, which no message has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLength(pub(super) u32);

impl Replies {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; MAX_MESSAGE], filled: 0, used: 0 }
    }

    /// The room for the next bytes of the stream. It is empty only before all messages were taken.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.used > 0 {
            self.buffer.copy_within(self.used..self.filled, 0);
            self.filled -= self.used;
            self.used = 0;
        }
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// Adds bytes that were written to [`Self::room`].
    pub(super) fn add(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.buffer.len());
    }

    /// Takes the next message; None if it is not complete.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, BadLength> {
        let bytes = self.buffer.get(self.used..self.filled).unwrap_or_default();
        let Some((length, _)) = bytes.split_first_chunk() else { return Ok(None) };
        let announced = u32::from_ne_bytes(*length);
        let length = announced as usize;
        if !(HEADER..=MAX_MESSAGE).contains(&length) {
            return Err(BadLength(announced));
        }
        let Some(message) = bytes.get(..length) else { return Ok(None) };
        self.used += length;
        Ok(Some(message))
    }
}

/// Whether the message is a notification: it answers no request, so its request's number is 0.
pub(super) fn is_notification(message: &[u8]) -> bool {
    message.get(8..HEADER).is_some_and(|unique| unique.iter().all(|&byte| byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize, unique: u64) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_ne_bytes().to_vec();
        bytes.extend(0_i32.to_ne_bytes());
        bytes.extend(unique.to_ne_bytes());
        bytes.resize(length, 7);
        bytes
    }

    /// The messages of a stream that comes in pieces of this length.
    fn cut(stream: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, BadLength> {
        let (mut replies, mut all) = (Replies::new(), Vec::new());
        for mut bytes in stream.chunks(piece) {
            while !bytes.is_empty() {
                let room = replies.room();
                let count = room.len().min(bytes.len());
                assert_ne!(count, 0, "no room");
                room[..count].copy_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                replies.add(count);
                while let Some(message) = replies.next()? {
                    all.push(message.to_vec());
                }
            }
        }
        Ok(all)
    }

    #[test]
    fn messages_come_whole_however_the_stream_is_split() {
        let sent =
            [message(16, 2), message(MAX_MESSAGE, 4), message(17, 6), message(4096, 8), message(MAX_MESSAGE, 10)];
        let stream = sent.concat();
        for piece in [997, 4096, 100_000, stream.len()] {
            assert_eq!(cut(&stream, piece).unwrap(), sent, "{piece}");
        }
        assert_eq!(cut(&stream[..40], 1).unwrap(), sent[..1]);
    }

    #[test]
    fn lengths_that_no_message_has_are_errors() {
        for length in [0, 15, u32::try_from(MAX_MESSAGE).unwrap() + 1, u32::MAX] {
            let mut stream = message(16, 2);
            stream.extend(length.to_ne_bytes());
            assert_eq!(cut(&stream, 64), Err(BadLength(length)));
        }
    }

    #[test]
    fn a_notification_has_no_request() {
        assert!(is_notification(&message(24, 0)));
        assert!(!is_notification(&message(24, 1 << 40)));
        assert!(!is_notification(&[0; 15]));
    }
}
