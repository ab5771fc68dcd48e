//! The line before the current one, as far as the current one may show that it was not all of a title.
//!
//! Two things cut a title: a line end in a task's name, which the kernel prints as it is, and another CPU that takes the
//! console over in the middle of a record and prints that record again (kernel/printk/printk.c,
//! `console_prepend_replay()`, since Linux 6.12).

use super::Opened;
use super::prefix::{self, Start};

/// What the kernel prints before it prints a record again.
const REPLAY: &[u8] = b"** replaying previous printk message **";
/// A task's name has at most so many bytes (include/linux/sched.h, `TASK_COMM_LEN`), and so many line ends.
const NAME: usize = 15;

/// The previous line, if it has an anchor.
#[derive(Debug, Default)]
pub(super) struct Previous {
    line: Vec<u8>,
    /// The line's number in the input, from 1, if lines are counted.
    number: Option<u64>,
    /// Where a kernel message may begin in the line. Empty: there is no previous line.
    starts: Vec<Start>,
    /// How many line ends of a name are in the line.
    joins: usize,
    /// The rule that the line matched.
    rule: Option<usize>,
    /// The report that the line opened.
    opened: Option<Opened>,
    /// Whether the kernel prints the line again.
    replays: bool,
}

impl Previous {
    /// Whether the current line must be looked at.
    pub(super) fn is_some(&self) -> bool {
        !self.starts.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.starts.clear();
    }

    /// Keeps a line for the next one.
    pub(super) fn keep(&mut self, line: &[u8], torn: bool, rule: Option<usize>, opened: Option<Opened>) {
        self.line.clear();
        self.line.extend_from_slice(line);
        self.starts.clear();
        // A name has room for one time stamp.
        self.starts.extend(prefix::starts(line, torn).take(3));
        (self.joins, self.rule, self.opened, self.replays) = (0, rule, opened, false);
    }

    /// Sets the number of the line that was kept.
    pub(super) const fn set_number(&mut self, number: Option<u64>) {
        self.number = number;
    }

    pub(super) const fn number(&self) -> Option<u64> {
        self.number
    }

    pub(super) const fn rule(&self) -> Option<usize> {
        self.rule
    }

    pub(super) const fn take_opened(&mut self) -> Option<Opened> {
        self.opened.take()
    }

    /// The kernel prints the previous line again.
    pub(super) const fn replay(&mut self) {
        self.replays = true;
    }

    /// Whether `line` is the previous line, printed again and now to its end.
    pub(super) fn is_replayed_by(&self, line: &[u8]) -> bool {
        self.replays && line.starts_with(self.line.trim_ascii_end())
    }

    /// Adds the current line, as if the line end between the two were in a name. Gives where the joined messages begin.
    pub(super) fn join(&mut self, line: &[u8], by: u8, start: Start) -> Vec<Start> {
        let prefix = |line: &[u8], start: Start| line[start.at..start.words].trim_ascii_end().to_vec();
        // After a carriage return there is no prefix.
        let own = prefix(line, start);
        // If the first line has no time stamp, the next line has none either: text that looks like one is part of the name.
        let same = |before: &Start| by == b'\r' || !before.stamped || prefix(&self.line, *before) == own;
        let starts: Vec<Start> = self.starts.iter().copied().filter(same).collect();
        let whole = by == b'\r' || self.starts.first().is_some_and(|first| !first.stamped);
        let text = if whole { line } else { &line[start.words..] };
        self.line.push(by);
        self.line.extend_from_slice(text);
        self.joins += 1;
        if starts.is_empty() || self.joins > NAME {
            self.starts.clear();
        }
        starts
    }

    /// The previous line up to the first line end in a name.
    pub(super) fn first_line(&self) -> &[u8] {
        self.line.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default()
    }

    /// Whether the next line may still continue a name, after this line did not end it.
    pub(super) fn may_go_on(&self, text: &[u8]) -> bool {
        self.joins <= NAME && text.len() <= NAME
    }

    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }
}

/// A line without the message that its record is printed again; None if the line has no such message.
pub(super) fn without_replay(line: &[u8]) -> Option<&[u8]> {
    line.trim_ascii_end().strip_suffix(REPLAY)
}
