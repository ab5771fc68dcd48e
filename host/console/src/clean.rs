//! Removes NULs and terminal escape sequences (ECMA-48) from a byte stream, wherever the stream is split.

use memchr::memchr2;

const ESC: u8 = 0x1b;
const NUL: u8 = 0;
/// The longest escape sequence that is removed, in bytes. A longer one is treated as text, so that it cannot hide a
/// report.
const LONGEST: usize = 32;

/// The position of the stream relative to escape sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// After ESC, possibly with an intermediate byte, as in `ESC ( B`.
    Escape,
    /// After `ESC [`.
    Sequence,
}

/// Cleans a stream.
///
/// Of an operating system command (`ESC ]`) and of an unfinished sequence only the introducer is removed: a task may have
/// such a name, and what the kernel prints after it is no part of the sequence. So only bytes that do not follow a name
/// in any title continue a sequence; blanks, colons and slashes do.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    state: State,
    /// The sequence so far, without its introducer.
    held: Vec<u8>,
}

/// What to do with a byte.
enum Byte {
    Continues(State),
    Ends,
    /// It belongs to no sequence.
    IsText,
}

impl Cleaner {
    /// The cleaned text of `bytes`: `bytes` itself if there is nothing to remove, else a copy in `room`.
    pub(super) fn clean<'a>(&mut self, bytes: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        if self.state == State::Text && memchr2(ESC, NUL, bytes).is_none() {
            return bytes;
        }
        room.clear();
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.state == State::Text {
                let run = memchr2(ESC, NUL, rest).unwrap_or(rest.len());
                room.extend_from_slice(&rest[..run]);
                if rest.get(run) == Some(&ESC) {
                    self.state = State::Escape;
                }
                rest = rest.get(run + 1..).unwrap_or_default();
                continue;
            }
            match self.meaning(byte) {
                Byte::Continues(state) => {
                    // The introducer is never text.
                    if state == self.state {
                        self.held.push(byte);
                    }
                    self.state = state;
                    rest = after;
                }
                Byte::Ends => {
                    self.held.clear();
                    self.state = State::Text;
                    rest = after;
                }
                Byte::IsText => {
                    room.append(&mut self.held);
                    self.state = State::Text;
                }
            }
        }
        room
    }

    fn meaning(&self, byte: u8) -> Byte {
        match (self.state, byte) {
            (State::Escape, b'[') if self.held.is_empty() => Byte::Continues(State::Sequence),
            (State::Escape, b'(' | b')' | b'#') if self.held.is_empty() => Byte::Continues(State::Escape),
            (State::Escape, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'=' | b'>' | b']') => Byte::Ends,
            (State::Sequence, b'0'..=b'9' | b';'..=b'?') if self.held.len() < LONGEST => {
                Byte::Continues(State::Sequence)
            }
            // No sequence in use ends with `[`, which starts the kernel's time stamps.
            (State::Sequence, 0x40..=0x5a | 0x5c..=0x7e) => Byte::Ends,
            _ => Byte::IsText,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(chunks: &[&[u8]]) -> String {
        let mut cleaner = Cleaner::default();
        let mut room = Vec::new();
        chunks.iter().map(|chunk| String::from_utf8_lossy(cleaner.clean(chunk, &mut room)).into_owned()).collect()
    }

    #[test]
    fn escape_sequences_and_nuls_are_removed_wherever_they_are_split() {
        let dirty = b"\x1b[1;31ma\0b\x1b[0m\x1b(Bc\x1b[?25l\x1b7d\x1b[2Je\n";
        assert_eq!(cleaned(&[dirty]), "abcde\n");
        for at in 0..dirty.len() {
            assert_eq!(cleaned(&[&dirty[..at], &dirty[at..]]), "abcde\n", "split at {at}");
        }
    }

    #[test]
    fn an_unterminated_sequence_hides_no_text() {
        assert_eq!(cleaned(&[b"\x1b]0;title[    1.0] BUG: x\n"]), "0;title[    1.0] BUG: x\n");
        assert_eq!(cleaned(&[b"\x1b[[    1.0] BUG: x\n"]), "[    1.0] BUG: x\n");
        assert_eq!(cleaned(&[b"\x1b[31", b"\nBUG: x\n"]), "31\nBUG: x\n");
        let long = format!("\x1b[{}\n", "1".repeat(100));
        assert_eq!(cleaned(&[long.as_bytes()]), long[2..]);
        for unfinished in ["\x1b", "\x1b(", "\x1b[", "\x1b[1", "\x1b[38;5", "\x1b[?"] {
            for after in [":4711 blocked", "/1/0x2", ") total-vm", " invoked", "\n"] {
                let text = format!("{unfinished}{after}");
                assert!(cleaned(&[text.as_bytes()]).ends_with(after), "{text:?}");
            }
        }
    }

    #[test]
    fn clean_bytes_are_not_copied() {
        let (mut cleaner, mut room, bytes) = (Cleaner::default(), Vec::new(), b"plain\r\n");
        assert!(std::ptr::eq(cleaner.clean(bytes, &mut room), bytes.as_slice()));
    }
}
