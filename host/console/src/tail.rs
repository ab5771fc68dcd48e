//! The last lines of a console, in bounded memory.

use std::borrow::Cow;
use std::cell::OnceCell;

use memchr::memchr;

use super::LINE_LIMIT;

/// The maximum number of lines.
const LAST_LINES: usize = 200;
/// The number of bytes that are kept; up to twice as many while bytes are collected.
const KEPT: usize = 256 << 10;

/// The last bytes of a console. They are split into lines only on demand, so that keeping them costs only a copy.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// Whether bytes before `bytes` were dropped.
    cut: bool,
    lines: OnceCell<Vec<String>>,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.lines.take();
        let last = &bytes[bytes.len().saturating_sub(KEPT)..];
        if self.bytes.len() + last.len() > 2 * KEPT {
            self.bytes.drain(..(self.bytes.len() + last.len()).saturating_sub(KEPT).min(self.bytes.len()));
            self.cut = true;
        }
        self.cut |= last.len() < bytes.len();
        self.bytes.extend_from_slice(last);
    }

    /// The last lines, decoded lossily, each cut to [`LINE_LIMIT`] bytes.
    pub(super) fn lines(&self) -> &[String] {
        self.lines.get_or_init(|| {
            // The lines do not depend on how the bytes were split.
            let mut kept = &self.bytes[self.bytes.len().saturating_sub(KEPT)..];
            if (self.cut || kept.len() < self.bytes.len())
                && let Some(end) = memchr(b'\n', kept)
            {
                kept = &kept[end + 1..];
            }
            let kept = kept.strip_suffix(b"\n").unwrap_or(kept);
            if kept.is_empty() {
                return Vec::new();
            }
            let mut lines: Vec<_> = kept.rsplit(|&byte| byte == b'\n').take(LAST_LINES).map(text).collect();
            lines.reverse();
            lines
        })
    }
}

/// A line as text, decoded lossily.
pub(super) fn text(line: &[u8]) -> String {
    read(line).into_owned()
}

/// A line as text; copied only if it is not UTF-8.
pub(super) fn read(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line[..line.len().min(LINE_LIMIT)].trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_in_bounded_memory() {
        let mut tail = Tail::default();
        assert!(tail.lines().is_empty());
        for n in 0..100_000 {
            tail.push(format!("line {n}\r\n").as_bytes());
        }
        tail.push(b"no end");
        assert_eq!(tail.lines().len(), LAST_LINES);
        assert_eq!(tail.lines()[LAST_LINES - 2..], ["line 99999", "no end"]);
        assert!(tail.bytes.len() <= 2 * KEPT);
    }

    #[test]
    fn of_long_lines_fewer_are_kept() {
        let mut tail = Tail::default();
        let line = [b'x'; 9000];
        for _ in 0..200 {
            tail.push(&line);
            tail.push(b"\n");
        }
        assert!((20..40).contains(&tail.lines().len()), "{}", tail.lines().len());
        assert!(tail.lines().iter().all(|line| line.len() == LINE_LIMIT));
        tail.push(&vec![b'y'; 3 * KEPT]);
        assert_eq!(tail.lines(), ["y".repeat(LINE_LIMIT)]);
    }
}
