//! Removes NULs and terminal escape sequences (ECMA-48) from a byte stream, wherever the stream is split.

use memchr::memchr2;

const ESC: u8 = 0x1b;
const NUL: u8 = 0;
/// The longest escape sequence that is removed, in bytes. A longer one is treated as text, so that it cannot hide a
/// report.
const LONGEST: u8 = 32;

/// The position of the stream relative to escape sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// After ESC, possibly with intermediate bytes, as in `ESC ( B`.
    Escape,
    /// This many bytes after `ESC [`.
    Sequence(u8),
}

/// Cleans a stream.
///
/// Of an operating system command (`ESC ]`) only the introducer is removed: if the command's end is missing, removing
/// it would also remove the kernel's next line, and a window title in the text is harmless.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    state: State,
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
            } else if self.swallows(byte) {
                rest = after;
            }
        }
        room
    }

    /// Whether this byte belongs to the current escape sequence.
    fn swallows(&mut self, byte: u8) -> bool {
        let (state, swallows) = match (self.state, byte) {
            (_, ESC) => (State::Escape, true),
            (State::Escape, b'[') => (State::Sequence(0), true),
            (State::Escape, 0x20..=0x2f) => (State::Escape, true),
            (State::Escape, 0x30..=0x7e) => (State::Text, true),
            (State::Sequence(length), 0x20..=0x3f) if length < LONGEST => (State::Sequence(length + 1), true),
            // No sequence in use ends with `[`, which starts the kernel's time stamps.
            (State::Sequence(_), 0x40..=0x5a | 0x5c..=0x7e) => (State::Text, true),
            _ => (State::Text, false),
        };
        self.state = state;
        swallows
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
        assert_eq!(cleaned(&[b"\x1b[31", b"\nBUG: x\n"]), "\nBUG: x\n");
        let long = format!("\x1b[{}\n", "1".repeat(100));
        assert_eq!(cleaned(&[long.as_bytes()]), format!("{}\n", "1".repeat(100 - usize::from(LONGEST))));
    }

    #[test]
    fn clean_bytes_are_not_copied() {
        let (mut cleaner, mut room, bytes) = (Cleaner::default(), Vec::new(), b"plain\r\n");
        assert!(std::ptr::eq(cleaner.clean(bytes, &mut room), bytes.as_slice()));
    }
}
