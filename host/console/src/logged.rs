//! What a log puts before a kernel's lines: syslog, journald, the forms of dmesg(1), /dev/kmsg, terminal programs.

use std::sync::LazyLock;

use memchr::{memchr, memmem};

/// The longest prefix, in bytes: a date, a host's name and `kernel: `.
const LONGEST: usize = 160;
/// The longest time in brackets, in bytes.
const TIME: usize = 40;
/// How syslog and journald introduce a kernel's line.
const KERNEL: &[u8] = b" kernel: ";
static INTRODUCTION: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(KERNEL));

/// The length of the prefix, and whether it is a time stamp.
pub(super) fn prefix(line: &[u8]) -> (usize, bool) {
    let head = &line[..line.len().min(LONGEST)];
    if let Some(at) = INTRODUCTION.find(head) {
        return (at + KERNEL.len(), false);
    }
    let named = facility(head);
    match time(&head[named..]).or_else(|| record(&head[named..])) {
        Some(length) => (named + length, true),
        None => (named, false),
    }
}

/// The length of `HOST kernel: `, which journalctl's `short-monotonic` has after the time stamp.
pub(super) fn host(line: &[u8]) -> usize {
    let head = &line[..line.len().min(LONGEST)];
    memchr(b' ', head).filter(|&at| head[at..].starts_with(KERNEL)).map_or(0, |at| at + KERNEL.len())
}

/// The length of `kern  :warn  : ` (`dmesg -x`).
fn facility(head: &[u8]) -> usize {
    let mut at = 0;
    for _ in 0..2 {
        let letters = head[at..].iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        let blanks = head[at + letters..].iter().take_while(|&&byte| byte == b' ').count();
        if letters == 0 || head.get(at + letters + blanks) != Some(&b':') {
            return 0;
        }
        at += letters + blanks + 1;
    }
    if head.get(at) == Some(&b' ') { at + 1 } else { 0 }
}

/// The length of a time: `[Sat Nov 28 01:02:03 2026] ` (`dmesg -T`), `[Nov28 01:02] ` and `[  +0.000012] ` (`-H`),
/// `[   20.000001 <    0.000012>] ` (`-d`), `[2026-11-28 01:02:03] `, or `2026-11-28T01:02:03,123456+00:00 `
/// (`--time-format iso`).
fn time(head: &[u8]) -> Option<usize> {
    let digit = |at: usize| head.get(at).is_some_and(u8::is_ascii_digit);
    let Some(rest) = head.strip_prefix(b"[") else {
        let date = (0..4).all(digit) && head.get(4) == Some(&b'-') && head.get(10) == Some(&b'T');
        return memchr(b' ', head).filter(|_| date).map(|end| end + 1);
    };
    let inner = &rest[..memchr(b']', &rest[..rest.len().min(TIME)])?];
    let words = inner.iter().position(|byte| byte.is_ascii_digit())?;
    // Names of a day and a month.
    let names = &inner[..words];
    let is_name =
        |name: &[u8]| name.len() == 3 && name[0].is_ascii_uppercase() && name[1..].iter().all(u8::is_ascii_lowercase);
    let named = names.split(|&byte| byte == b' ').filter(|name| !name.is_empty()).all(is_name);
    let signs = names.iter().all(|byte| b" +".contains(byte));
    let numbers = inner[words..].iter().all(|byte| byte.is_ascii_digit() || b" :.+-/,<>TZ".contains(byte));
    // Digits with a point alone are the kernel's own time stamp, which a caller may follow.
    let is_time = inner.iter().any(|byte| b":+<".contains(byte));
    let length = inner.len() + 2;
    ((named || signs) && numbers && is_time).then(|| length + usize::from(head.get(length) == Some(&b' ')))
}

/// The length of `4,1234,12345678,-;` (/dev/kmsg, Documentation/ABI/testing/dev-kmsg).
fn record(head: &[u8]) -> Option<usize> {
    let end = memchr(b';', head)?;
    let fields: Vec<_> = head[..end].split(|&byte| byte == b',').take(4).collect();
    let numbers = fields.iter().take(3).all(|field| !field.is_empty() && field.iter().all(u8::is_ascii_digit));
    (fields.len() == 4 && numbers).then_some(end + 1)
}
