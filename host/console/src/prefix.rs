//! Parses the prefix of a console line: level, time stamp and caller.

use memchr::memchr;

use super::logged;

/// The printer of a line, from `CONFIG_PRINTK_CALLER` (Linux 5.1): `[    T7]` for a task, `[    C1]` for a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    /// Whether the number is a CPU's (in an interrupt) or a task's.
    pub(super) in_interrupt: bool,
    pub(super) number: u32,
}

/// A position in a line where a kernel message may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Start {
    /// The offset of the level or time stamp.
    pub(super) at: usize,
    /// The offset of the text after the prefix.
    pub(super) words: usize,
    pub(super) stamped: bool,
    pub(super) caller: Option<Caller>,
}

/// The positions where a kernel message may begin: the beginning of the line, and each time stamp, because a program
/// may have written to the console before without ending its line.
///
/// `torn` means that the beginning of the line is missing.
pub(super) fn starts(line: &[u8], torn: bool) -> impl Iterator<Item = Start> {
    let first = (!torn).then(|| at_beginning(line));
    let mut from = first.map_or(0, |start| start.words);
    let stamped = std::iter::from_fn(move || {
        loop {
            let at = from + memchr(b'[', line.get(from..)?)?;
            from = at + 1;
            if let Some((length, caller)) = stamp(&line[at..]) {
                from = at + length;
                return Some(Start { at, words: from, stamped: true, caller });
            }
        }
    });
    first.into_iter().chain(stamped)
}

/// Parses the prefix at the beginning of a line: the kernel's own, possibly behind what a log puts before it.
pub(super) fn at_beginning(line: &[u8]) -> Start {
    if let Some((length, caller)) = stamp(line) {
        return Start { at: 0, words: length, stamped: true, caller };
    }
    let (logged, by_clock) = logged::prefix(line);
    // A level such as `<4>`, if the console shows raw records.
    let level = match line[logged..].get(..3) {
        Some([b'<', b'0'..=b'7', b'>']) => logged + 3,
        _ => logged,
    };
    match stamp(&line[level..]) {
        Some((length, caller)) => Start { at: 0, words: level + length, stamped: true, caller },
        None => Start { at: 0, words: level, stamped: by_clock, caller: None },
    }
}

/// The longest unknown prefix of a log, in bytes.
const LOGGED: usize = 160;

/// As [`at_beginning`]; where a log has put something unknown before the time stamp, the message behind it.
pub(super) fn of_line(line: &[u8]) -> Start {
    let start = at_beginning(line);
    if start.stamped {
        return start;
    }
    let behind = starts(&line[..line.len().min(LOGGED)], true).next();
    behind.unwrap_or(start)
}

/// The length of `[   12.345678] ` or `[   12.345678][    T1] ` at the beginning, and the caller.
fn stamp(bytes: &[u8]) -> Option<(usize, Option<Caller>)> {
    let (inner, mut length) = bracketed(bytes)?;
    let point = memchr(b'.', inner)?;
    let (seconds, fraction) = (&inner[..point], &inner[point + 1..]);
    if digits(seconds).is_none() || digits(fraction).is_none() {
        return None;
    }
    let caller = bracketed(&bytes[length..]).and_then(|(inner, more)| {
        let (&kind, number) = inner.split_first()?;
        let in_interrupt = match kind {
            b'T' => false,
            b'C' => true,
            _ => return None,
        };
        Some((Caller { in_interrupt, number: digits(number)? }, more))
    });
    if let Some((_, more)) = caller {
        length += more;
    }
    length += usize::from(bytes.get(length) == Some(&b' '));
    length += logged::host(&bytes[length.min(bytes.len())..]);
    Some((length, caller.map(|(caller, _)| caller)))
}

/// The text in brackets at the beginning, without leading blanks, and the length including the brackets.
fn bracketed(bytes: &[u8]) -> Option<(&[u8], usize)> {
    // No time stamp is longer.
    let bytes = &bytes[..bytes.len().min(32)];
    let rest = bytes.strip_prefix(b"[")?;
    let end = memchr(b']', rest)?;
    Some((rest[..end].trim_ascii_start(), end + 2))
}

fn digits(bytes: &[u8]) -> Option<u32> {
    let all = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    all.then(|| bytes.iter().fold(0_u32, |sum, digit| sum.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&str> {
        starts(line.as_bytes(), false).map(|start| &line[start.words..]).collect()
    }

    #[test]
    fn the_text_follows_level_stamp_and_caller() {
        for line in
            ["w x", "[    1.5] w x", "[12345.678901][    T7] w x", "[ 1.5][C1] w x", "<4>[    1.5] w x", "<6>w x"]
        {
            assert_eq!(words(line), ["w x"], "{line}");
        }
        assert_eq!(words("[ INFO: x ]"), ["[ INFO: x ]"]);
        assert_eq!(words("[    1.5]  two blanks"), [" two blanks"]);
    }

    #[test]
    fn what_a_log_puts_before_a_message_is_no_part_of_it() {
        for line in [
            "Nov 28 01:02:03 host kernel: w x",
            "Nov 28 01:02:03 host kernel: [12345.678901] w x",
            "Nov 28 01:02:03 host kernel: [12345.678901][    T7] w x",
            "2026-11-28T01:02:03,123456+00:00 w x",
            "2026-11-28T01:02:03.123456+00:00 host kernel: [    1.5] w x",
            "[   20.000001] host kernel: w x",
            "[Sat Nov 28 01:02:03 2026] w x",
            "[Nov24 10:00] w x",
            "[  +0.000012] w x",
            "[   20.000001 <    0.000012>] w x",
            "[2026-11-24 10:00:12] w x",
            "[10:00:12.123] w x",
            "kern  :warn  : [   20.000001] w x",
            "kern  :warn  : [   20.000001][   T34] w x",
            "kern  :warn  : [Sat Nov 28 01:02:03 2026] w x",
            "4,1234,12345678,-;w x",
            "guest-1 | [   20.000001] w x",
            "    [   20.000001] w x",
            "> [   20.000001][   C1] w x",
        ] {
            let start = of_line(line.as_bytes());
            assert_eq!(&line[start.words..], "w x", "{line}");
        }
        for line in [
            "[ BUG: Invalid wait context ]",
            "[Hardware Error]: x",
            " [<ffffffff8100abcd>] f+0x1/0x2",
            "[<0000000000000000>] f+0x1/0x2",
            "[drm] x",
        ] {
            assert_eq!(of_line(line.as_bytes()).words, 0, "{line}");
        }
    }

    #[test]
    fn a_kernel_message_may_begin_at_any_time_stamp() {
        assert_eq!(words("login: [    1.5] w"), ["login: [    1.5] w", "w"]);
        assert_eq!(words("[a.b] [1.] [.5] [1.5"), ["[a.b] [1.] [.5] [1.5"]);
        let torn: Vec<_> = starts(b"orn [    1.5][   T12] w", true).collect();
        let caller = Some(Caller { in_interrupt: false, number: 12 });
        assert_eq!(torn, [Start { at: 4, words: 22, stamped: true, caller }]);
    }
}
