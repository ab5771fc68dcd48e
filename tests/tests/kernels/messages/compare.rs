//! Compares a kernel's messages with the classifier's rules.

use std::collections::BTreeSet;

use regex::{Regex, RegexSet};
use vmlab_console::ConsoleReader;

use super::left_out::LEFT_OUT;

/// Words of messages that may report a broken kernel.
const ALARMING: &str = r"(?x) \bBUG | \bbug\b | orrupt | nconsisten | [Ll]eak | \bstuck | deadlock | lockup | detected\ stall
    | [Oo]verflow | [Uu]nderflow | mpossible | ould\ never | [Bb]usy\ inodes | fasync | \boops\b | nobody\ cared | [Bb]ogus
    | [Dd]ouble\ free | [Uu]se-after-free | [Uu]nbalanced | negative | [Pp]oison | is\ broken | seriously\ wrong
    | scheduling\ (?:while|from) | nonexistent | [Tt]rying\ to\ (?:free|vfree|vunmap) | still\ (?:in\ use|has\ )
    | not\ empty | wrong\ (?:timeout|CPU) | rcu.*stall | lost\ sync | recursi | sanity | not\ sane";
/// A conversion of printk (Documentation/core-api/printk-formats.rst).
const CONVERSION: &str = r"%[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:hh?|ll?|L|z|t)?([diuxXocsp%])([A-Za-z0-9]*)";

/// The compiled patterns.
pub(super) struct Comparison {
    alarming: Regex,
    conversion: Regex,
    left_out: RegexSet,
}

impl Comparison {
    pub(super) fn new() -> Result<Self, regex::Error> {
        Ok(Self {
            alarming: Regex::new(ALARMING)?,
            conversion: Regex::new(CONVERSION)?,
            left_out: RegexSet::new(LEFT_OUT.iter().flat_map(|(_, patterns)| *patterns))?,
        })
    }

    /// The messages of a vmlinux that may report a broken kernel, and that are neither a rule's nor left out.
    ///
    /// printk's format strings begin with SOH and a level (include/linux/kern_levels.h): `0` (emergency) to `7` (debug). All of
    /// critical or higher level count, and those of warning or higher level with an alarming word.
    pub(super) fn unknown(&self, vmlinux: &[u8]) -> BTreeSet<String> {
        let mut unknown = BTreeSet::new();
        for text in vmlinux.split(|&byte| byte == 1).skip(1).filter_map(format) {
            let (level, message) = text.split_at(1);
            let counts = match level {
                "0" | "1" | "2" => true,
                "3" | "4" => self.alarming.is_match(message),
                _ => false,
            };
            if counts && !self.left_out.is_match(message) && !self.is_report(message) {
                unknown.insert(format!("<{level}> {message:?}"));
            }
        }
        unknown
    }

    /// Whether the classifier finds a report in the message, with sample values for its conversions.
    fn is_report(&self, message: &str) -> bool {
        let sample = self.conversion.replace_all(message, |found: &regex::Captures<'_>| match (&found[1], &found[2]) {
            ("%", _) => "%",
            ("d" | "i" | "u", _) => "1",
            ("c", _) => "c",
            ("s", _) => "rcu_name",
            ("x" | "X" | "o", _) => "0800",
            (_, "S" | "s" | "F" | "f" | "B" | "SR") => "f+0x1/0x2",
            _ => "ffff888004a5bd20",
        });
        let mut reader = ConsoleReader::default();
        for line in sample.lines() {
            reader.push(format!("[    1.000000] {line}\r\n").as_bytes());
        }
        reader.end();
        !reader.take_all().is_empty()
    }
}

/// The number of printk's format strings in a vmlinux.
pub(super) fn count(vmlinux: &[u8]) -> usize {
    vmlinux.split(|&byte| byte == 1).skip(1).filter_map(format).count()
}

/// The level and the format, up to the NUL.
fn format(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let printable = text.bytes().all(|byte| byte >= 0x20 || byte == b'\n' || byte == b'\t');
    (text.len() > 4 && text.as_bytes()[0].is_ascii_digit() && printable).then_some(text)
}
