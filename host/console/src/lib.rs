//! The console: bytes in, what the kernel reports about itself and PID 1's own words out. No IO, bounded memory.
//!
//! Nearly all of a console means nothing, so nearly all of it is only searched, in bulk, for words that are in every
//! title; a line is looked at where they are found, or where a report is being read.

mod clean;
mod finding;
mod fingerprint;
mod frames;
mod kind;
mod prefix;
mod report;
mod reports;
pub mod rules;
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

/// A line that is longer is read in pieces of so many bytes.
const LINE_LIMIT: usize = 4096;
/// Two pieces of a long line have so many bytes in common, so that no title is cut in two.
const OVERLAP: usize = 1024;
/// How far on the next piece begins.
const STEP: usize = LINE_LIMIT - OVERLAP;
/// So much is read at once, in bytes.
const BLOCK: usize = 64 << 10;
/// Lines of PID 1's that are kept.
const INIT_LINES: usize = 200;
/// Lines between `cut here` and a title; more are no words of a `WARN()`.
const BEFORE_TITLE: usize = 6;

/// Reads the console of one guest.
#[derive(Debug, Default)]
pub struct ConsoleReader {
    cleaner: Cleaner,
    room: Vec<u8>,
    /// The line that has not ended yet.
    partial: Vec<u8>,
    /// Whether the beginning of that line is gone.
    torn: bool,
    tail: Tail,
    /// What was printed since `cut here`.
    before: Option<Vec<String>>,
    crash: Option<Report>,
    has_panicked: bool,
    /// All other reports, until they are taken.
    reports: Reports,
    said_by_init: Vec<String>,
    kernel_spoke: bool,
}

impl ConsoleReader {
    /// Takes in the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut room = std::mem::take(&mut self.room);
        for block in bytes.chunks(BLOCK) {
            let text = self.cleaner.clean(block, &mut room);
            self.tail.push(text);
            self.block(text);
        }
        self.room = room;
    }

    /// Says that the console has ended: a last line without an end is a line all the same.
    pub fn end(&mut self) {
        self.end_line();
        self.crash.iter_mut().chain(self.reports.open_mut()).for_each(|report| report.is_open = false);
        self.reports.sweep();
    }

    /// Says that the line which has not ended ends here.
    pub fn end_line(&mut self) {
        if !self.partial.is_empty() {
            self.end_partial();
        }
    }

    /// Whether the first of them is an oops, after which a kernel panics under `oops=panic`.
    #[must_use]
    pub fn has_oopsed(&self) -> bool {
        self.crash().is_some_and(|crash| crash.kind.is_trap())
    }

    /// The first report on which the kernel cannot be trusted any more, if there was one.
    #[must_use]
    pub const fn crash(&self) -> Option<&Crash> {
        match &self.crash {
            Some(report) => Some(&report.finding),
            None => None,
        }
    }

    /// Whether the kernel has panicked, and not only found a fault: nothing more will come of it.
    #[must_use]
    pub const fn has_panicked(&self) -> bool {
        self.has_panicked
    }

    /// All else that the kernel reported since the last call. What is still being printed ends here.
    pub fn take_warnings(&mut self) -> Vec<Finding> {
        self.reports.take().into_iter().chain(rules::unread(&RULES)).collect()
    }

    /// What PID 1 wrote on the console because it could not say it on the link.
    #[must_use]
    pub fn said_by_init(&self) -> &[String] {
        &self.said_by_init
    }

    /// Whether the kernel proper was reached: what a bootloader and the decompressor print comes before.
    #[must_use]
    pub const fn kernel_spoke(&self) -> bool {
        self.kernel_spoke
    }

    /// The last lines.
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

    /// Reads lines that have all ended.
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

    /// Whether each line counts.
    fn is_reading(&self) -> bool {
        self.before.is_some()
            || !self.reports.open().is_empty()
            || self.crash.as_ref().is_some_and(|crash| crash.is_open)
    }

    /// `may_mean` is whether the words that are in every title are somewhere in it.
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

    /// Reads a line, or a piece of one: what the kernel began to print before `below`.
    fn piece(&mut self, rules: &Rules, line: &[u8], torn: bool, below: usize, may_mean: bool) {
        // A program may have gone back to the line's beginning: the kernel's own lines have a carriage return at their end.
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

    /// Takes in what a line says. Gives whether it has a place then.
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

    /// Counts a report if enough like it are kept. Most titles of a kernel that reports without end come no further.
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

    /// A title has come that is part of no report: nobody prints two at once.
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
        // A report may turn out worse than its title: then it is the crash.
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

    /// A panic that follows a report is its consequence, where the kernel is set to panic then.
    fn panic(&mut self, title: rules::Title, line: &[u8], words: &str, start: Start) {
        /// The reasons for which a kernel panics that has told of the fault before: kernel/panic.c, kernel/watchdog.c,
        /// kernel/hung_task.c, kernel/rcu/tree_stall.h, arch/x86/kernel/dumpstack.c, mm/kasan/report.c.
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

    /// A line without a meaning of its own belongs to the report that was being printed, if to any.
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

/// Whether a title says that the kernel gives up.
fn is_panic(kind: Kind, words: &[u8]) -> bool {
    kind.severity() == Severity::Fatal || words.starts_with(b"Kernel panic")
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
