//! Reads a guest's console and finds the kernel's reports (crashes, warnings) and PID 1's messages. No IO, bounded
//! memory.
//!
//! Most of a console contains no report. The reader therefore searches it in bulk for the rules' anchors and parses
//! only lines with an anchor and lines within a report.

mod clean;
mod finding;
mod fingerprint;
mod frames;
mod kind;
mod prefix;
mod report;
mod reports;
mod rules;
mod tail;

use memchr::{memchr, memrchr};

use clean::Cleaner;
pub use finding::{Crash, Finding, Task};
pub use kind::{Kind, Severity};
use prefix::Start;
use report::Report;
use reports::{Reports, taker};
use rules::{Meaning, RULES, Rules};
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
    tail: Tail,
    /// The lines since `cut here`.
    before: Option<Vec<String>>,
    crash: Option<Report>,
    has_panicked: bool,
    /// The reports that are not the crash, until they are taken.
    reports: Reports,
    said_by_init: Vec<String>,
    kernel_spoke: bool,
}

impl ConsoleReader {
    /// Reads the next bytes of the console.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut room = std::mem::take(&mut self.room);
        for block in bytes.chunks(BLOCK) {
            let text = self.cleaner.clean(block, &mut room);
            self.tail.push(text);
            self.block(text);
        }
        self.room = room;
    }

    /// Marks the end of the console and reads a last line without a newline.
    pub fn end(&mut self) {
        self.end_line();
        self.crash.iter_mut().chain(self.reports.open_mut()).for_each(|report| report.is_open = false);
        self.reports.sweep();
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
        self.reports.take().into_iter().chain(rules::unread(&RULES)).collect()
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

    fn block(&mut self, mut text: &[u8]) {
        if !self.partial.is_empty() || self.torn {
            let end = memchr(b'\n', text);
            self.extend_partial(&text[..end.unwrap_or(text.len())]);
            let Some(end) = end else { return };
            self.end_partial();
            text = &text[end + 1..];
        }
        let whole = memrchr(b'\n', text).map_or(0, |end| end + 1);
        self.whole_lines(&text[..whole]);
        self.extend_partial(&text[whole..]);
    }

    /// Reads complete lines.
    fn whole_lines(&mut self, text: &[u8]) {
        let Ok(rules) = &*RULES else { return };
        let next_hit = |from: usize| rules.prefilter.find(&text[from..]).map_or(text.len(), |hit| from + hit.start());
        let (mut at, mut hit) = (0, next_hit(0));
        while at < text.len() {
            if hit < at {
                hit = next_hit(at);
            }
            if !self.is_reading() {
                if hit == text.len() {
                    return;
                }
                at += memrchr(b'\n', &text[at..hit]).map_or(0, |end| end + 1);
            }
            let end = memchr(b'\n', &text[at..]).map_or(text.len(), |end| at + end);
            self.whole_line(rules, &text[at..end], hit < end);
            at = end + 1;
        }
    }

    /// Whether every line must be parsed, not only lines with an anchor.
    fn is_reading(&self) -> bool {
        self.before.is_some()
            || !self.reports.open().is_empty()
            || self.crash.as_ref().is_some_and(|crash| crash.is_open)
    }

    /// `may_mean` says whether the line contains an anchor.
    fn whole_line(&mut self, rules: &Rules, mut line: &[u8], may_mean: bool) {
        let mut torn = false;
        while line.len() > LINE_LIMIT {
            self.piece(rules, &line[..LINE_LIMIT], torn, STEP, may_mean);
            torn = line[STEP - 1] != b'\r';
            line = &line[STEP..];
        }
        self.piece(rules, line, torn, LINE_LIMIT, may_mean);
    }

    fn extend_partial(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.partial.len() == LINE_LIMIT {
                self.partial_piece(STEP);
                self.torn = self.partial[STEP - 1] != b'\r';
                self.partial.drain(..STEP);
            }
            let (now, later) = bytes.split_at(bytes.len().min(LINE_LIMIT - self.partial.len()));
            self.partial.extend_from_slice(now);
            bytes = later;
        }
    }

    fn end_partial(&mut self) {
        self.partial_piece(LINE_LIMIT);
        self.partial.clear();
        self.torn = false;
    }

    fn partial_piece(&mut self, below: usize) {
        let Ok(rules) = &*RULES else { return };
        let partial = std::mem::take(&mut self.partial);
        let may_mean = rules.prefilter.is_match(&partial);
        if may_mean || self.is_reading() {
            self.piece(rules, &partial, self.torn, below, may_mean);
        }
        self.partial = partial;
    }

    /// Reads a line or a piece of a line, as far as the kernel began to print before `below`.
    fn piece(&mut self, rules: &Rules, line: &[u8], torn: bool, below: usize, may_mean: bool) {
        // A carriage return within a line comes from a program that went back to the line's beginning; the kernel's
        // lines have it only at their end.
        let line = line.trim_ascii_end();
        let mut at = 0;
        for part in line.split(|&byte| byte == b'\r') {
            if (!part.is_empty() || line.is_empty()) && at < below {
                self.part(rules, part, torn && at == 0, below - at, may_mean);
            }
            at += part.len() + 1;
        }
    }

    fn part(&mut self, rules: &Rules, line: &[u8], torn: bool, below: usize, may_mean: bool) {
        let mut meant_something = false;
        if may_mean {
            for start in prefix::starts(line, torn).filter(|start| start.at < below) {
                if let Some(meaning) = rules.meaning(&line[start.words..]) {
                    meant_something |= self.learn(rules, meaning, line, start);
                }
            }
        }
        if !meant_something && self.is_reading() {
            self.continue_report(line, prefix::at_beginning(line));
        }
    }

    /// Processes the meaning of a line. Returns whether the line was used.
    fn learn(&mut self, rules: &Rules, meaning: Meaning, line: &[u8], start: Start) -> bool {
        let words = &line[start.words..];
        match meaning {
            Meaning::Banner => {
                self.kernel_spoke = true;
                false
            }
            Meaning::InitSays(from) => {
                if self.said_by_init.len() < INIT_LINES {
                    self.said_by_init.push(tail::text(words[from..].trim_ascii_start()));
                }
                true
            }
            Meaning::CutHere => {
                self.before = Some(vec![tail::text(line)]);
                true
            }
            Meaning::Title(number) => {
                if !self.count(rules, number, words, start) {
                    let text = tail::text(words);
                    if let Some(title) = rules.title(number, &text) {
                        self.title(title, line, &text, start);
                    }
                }
                true
            }
        }
    }

    /// Counts a report if enough similar ones are kept. This is where most titles of an endless stream of reports end.
    fn count(&mut self, rules: &Rules, number: usize, words: &[u8], start: Start) -> bool {
        let Some(kind) = rules.kind(number) else { return false };
        let may_be_crash = self.crash.is_none() && kind.severity() >= Severity::Broken;
        let open = || self.reports.open().iter().chain(&self.crash);
        let may_be_part = open().any(|report| report.is_open && report.may_take(kind));
        if may_be_crash || may_be_part || is_panic(kind, words) || !self.reports.count(number, kind, words) {
            return false;
        }
        self.before = None;
        self.end_others(start);
        self.reports.sweep();
        true
    }

    /// Ends the other reports of the same printer, because a CPU or task prints one report at a time.
    fn end_others(&mut self, start: Start) {
        let same = |report: &&mut Report| report.may_have(start) && report.finding.severity < Severity::Fatal;
        self.reports
            .open_mut()
            .iter_mut()
            .chain(&mut self.crash)
            .filter(same)
            .for_each(|report| report.is_open = false);
    }

    fn title(&mut self, title: rules::Title, line: &[u8], words: &str, start: Start) {
        let before = self.before.take().unwrap_or_default();
        if is_panic(title.kind, words.as_bytes()) {
            self.panic(title, line, words, start);
            return;
        }
        if let Some(report) = taker(self.reports.open_mut().iter_mut().rev().chain(&mut self.crash), &title, start) {
            report.take_title(&title, line, words);
        } else {
            self.end_others(start);
            self.open(title, start, before, line, words);
        }
        // A later title may raise the severity: the report then becomes the crash.
        if self.crash.is_none() {
            self.crash = self.reports.take_worse();
        }
        self.reports.sweep();
    }

    fn open(&mut self, title: rules::Title, start: Start, before: Vec<String>, line: &[u8], words: &str) {
        let rule = title.rule;
        let is_crash = self.crash.is_none() && title.kind.severity() >= Severity::Broken;
        let is_brief = !is_crash && self.reports.is_brief(rule, words.as_bytes());
        let report = Report::new(title, start, before, tail::text(line), words, is_brief);
        if is_crash {
            self.crash = Some(report);
        } else {
            self.reports.begin(rule, words.as_bytes(), report);
        }
    }

    /// A panic after a report is that report's consequence if the kernel is configured to panic on such reports.
    fn panic(&mut self, title: rules::Title, line: &[u8], words: &str, start: Start) {
        /// Panic messages that follow an earlier report (kernel/panic.c, kernel/watchdog.c, kernel/hung_task.c,
        /// kernel/rcu/tree_stall.h, arch/x86/kernel/dumpstack.c, mm/kasan/report.c).
        const CONSEQUENCES: &[&str] = &[
            "Fatal exception",
            "panic_on_warn set",
            "softlockup: hung tasks",
            "hung_task: blocked tasks",
            "RCU Stall",
            "Hard LOCKUP",
            "kasan.fault=panic set",
            "kmsan.panic set",
            "panic_on_oom is enabled",
            "panic_on_taint set",
            "system warned too often",
            "Machine halted",
            "fault in interrupt",
        ];
        self.has_panicked = true;
        let is_consequence = CONSEQUENCES.iter().any(|reason| words.contains(reason));
        if self.crash.is_none() && is_consequence {
            self.crash = self.reports.take_latest();
        }
        match &mut self.crash {
            Some(crash) => crash.take_panic(line),
            None => self.open(title, start, Vec::new(), line, words),
        }
    }

    /// Adds a line without its own meaning to the report that is being printed, if any.
    fn continue_report(&mut self, line: &[u8], start: Start) {
        if let Some(before) = &mut self.before {
            if before.len() < BEFORE_TITLE {
                before.push(tail::text(line));
                return;
            }
            self.before = None;
        }
        let mut reports = self.reports.open_mut().iter_mut().rev().chain(&mut self.crash);
        if let Some(report) = reports.find(|report| report.may_have(start)) {
            report.push(line, &tail::read(&line[start.words..]));
            if !report.is_open {
                self.reports.sweep();
            }
        }
    }
}

/// Whether a title is a panic.
fn is_panic(kind: Kind, words: &[u8]) -> bool {
    kind.severity() == Severity::Fatal || words.starts_with(b"Kernel panic")
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
