//! Reads a guest's console and finds the kernel's reports (crashes, warnings) and PID 1's messages. No IO, bounded
//! memory.
//!
//! Most of a console contains no report. The reader therefore searches it in bulk for the rules' anchors and parses
//! only lines with an anchor and lines within a report.

mod clean;
mod finding;
mod fingerprint;
mod frames;
mod helpers;
mod kind;
mod kunit;
mod lines;
mod logged;
mod panic;
mod parts;
mod prefix;
mod previous;
mod report;
mod reports;
mod rules;
mod tail;
mod titles;

use clean::Cleaner;
pub use finding::{Crash, Finding, Located, Task};
pub use kind::{Kind, Severity};
use previous::Previous;
use report::Report;
use reports::Reports;
use rules::RULES;
use tail::Tail;

/// Longer lines are read in pieces of this length, in bytes.
const LINE_LIMIT: usize = 4096;
/// The overlap of two pieces of a long line, in bytes, so that no title is cut in two.
const OVERLAP: usize = 1024;
/// The distance between the starts of two pieces, in bytes.
const STEP: usize = LINE_LIMIT - OVERLAP;
/// The size of a block that is searched at once, in bytes.
const BLOCK: usize = 64 << 10;
/// The maximum number of PID 1's lines that are kept.
const INIT_LINES: usize = 200;
/// The maximum number of lines between `cut here` and a title. More lines do not belong to a `WARN()`.
const BEFORE_TITLE: usize = 6;

/// Reads the console of a guest.
#[derive(Debug, Default)]
pub struct ConsoleReader {
    cleaner: Cleaner,
    room: Vec<u8>,
    /// The current, unfinished line.
    partial: Vec<u8>,
    /// Whether the beginning of that line was already dropped.
    torn: bool,
    /// The number of line ends before the current line, if lines are counted.
    line_ends: Option<u64>,
    tail: Tail,
    /// The lines since `cut here`.
    before: Option<Vec<String>>,
    /// The report whose title may be the message of a `WARN()` or `BUG()`, if its title follows.
    message: Option<Opened>,
    crash: Option<Report>,
    has_panicked: bool,
    /// The reports that are not the crash, until they are taken.
    reports: Reports,
    said_by_init: Vec<String>,
    kernel_spoke: bool,
    /// Whether the kernel's lines have time stamps.
    stamped_kernel: bool,
    previous: Previous,
    /// The KUnit suites, if they are followed.
    suites: Option<kunit::Suites>,
}

/// Where a report is that a line opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    Crash,
    /// The report's number.
    Report(u64),
}

impl ConsoleReader {
    /// A reader that also counts lines, for [`Located::line`]. Counting takes about 3 % of the time on a log without reports.
    #[must_use]
    pub fn counting_lines() -> Self {
        Self { line_ends: Some(0), ..Self::default() }
    }

    /// Also follows the KUnit suites that the kernel runs, from now on.
    pub fn follow_suites(&mut self) {
        self.suites.get_or_insert_default();
    }

    /// The KUnit suite that runs, or ran when the console ended; None if suites are not followed.
    #[must_use]
    pub fn running_suite(&self) -> Option<&str> {
        self.suites.as_ref().and_then(kunit::Suites::running)
    }

    /// Reads the next bytes of the console.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut room = std::mem::take(&mut self.room);
        for block in bytes.chunks(BLOCK) {
            let text = self.cleaner.clean(block, &mut room);
            self.tail.push(text);
            if self.suites.is_some() {
                self.follow(text);
            } else {
                self.block(text);
            }
        }
        self.room = room;
    }

    /// Reads line by line, so that each report comes while its suite runs.
    fn follow(&mut self, text: &[u8]) {
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            self.suites.iter_mut().for_each(|suites| suites.push(line));
            self.block(line);
        }
    }

    /// Marks the end of the console and reads a last line without a newline.
    pub fn end(&mut self) {
        self.end_line();
        self.crash.iter_mut().chain(self.reports.open_mut()).for_each(|report| report.is_open = false);
        self.reports.sweep();
        if !self.kernel_spoke && self.is_stamped() {
            self.forget_unstamped();
        }
        self.reports.forget_doubtful();
    }

    /// Whether most of the last lines have a time stamp. For logs without the banner.
    fn is_stamped(&self) -> bool {
        let stamped = self.last_lines().filter(|line| prefix::at_beginning(line.as_bytes()).stamped).count();
        stamped * 2 > self.last_lines().count()
    }

    /// Ends the current line.
    pub fn end_line(&mut self) {
        if !self.partial.is_empty() {
            self.end_partial();
        }
    }

    /// Whether the crash is an oops, after which a kernel with `oops=panic` panics.
    #[must_use]
    pub fn has_oopsed(&self) -> bool {
        self.crash().is_some_and(|crash| crash.kind.is_trap())
    }

    /// The first report after which the kernel cannot be trusted.
    #[must_use]
    pub const fn crash(&self) -> Option<&Crash> {
        match &self.crash {
            Some(report) => Some(&report.finding),
            None => None,
        }
    }

    /// Whether the kernel has panicked and therefore stopped.
    #[must_use]
    pub const fn has_panicked(&self) -> bool {
        self.has_panicked
    }

    /// Takes the other reports since the last call. Ends reports that are still being printed.
    pub fn take_warnings(&mut self) -> Vec<Finding> {
        self.take_located().into_iter().map(|located| located.finding).collect()
    }

    /// Takes all reports, the crash among them, in the order in which they began. Ends reports that are still being printed.
    pub fn take_all(&mut self) -> Vec<Located> {
        if let Some(crash) = self.crash.take() {
            self.reports.add_back(crash);
        }
        self.take_located()
    }

    fn take_located(&mut self) -> Vec<Located> {
        let unread = rules::unread(&RULES).map(|finding| Located { line: None, finding });
        self.reports.take().into_iter().chain(unread).collect()
    }

    /// The lines that PID 1 wrote to the console, without their prefix.
    #[must_use]
    pub fn said_by_init(&self) -> &[String] {
        &self.said_by_init
    }

    /// Whether the kernel printed its banner, which follows the output of boot loader and decompressor.
    #[must_use]
    pub const fn kernel_spoke(&self) -> bool {
        self.kernel_spoke
    }

    /// The last lines of the console.
    pub fn last_lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.tail.lines().iter().map(String::as_str)
    }
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod located;
#[cfg(test)]
mod reported;
#[cfg(test)]
mod tests;
