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
pub mod rules;
mod tail;

use memchr::{memchr, memrchr};

use clean::Cleaner;
pub use finding::{Crash, Finding, Task};
pub use kind::{Kind, Severity};
use prefix::Start;
use report::Report;
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
/// Findings that are kept until somebody asks for them.
const FINDINGS_KEPT: usize = 64;
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
    reports: Vec<Report>,
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
        if !self.partial.is_empty() {
            self.end_partial();
        }
        self.crash.iter_mut().chain(&mut self.reports).for_each(|report| report.is_open = false);
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
        self.reports.drain(..).map(|report| report.finding).chain(rules::unread(&RULES)).collect()
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
    fn whole_lines(&mut self, mut text: &[u8]) {
        let Ok(rules) = &*RULES else { return };
        while !text.is_empty() {
            let begin = if self.is_reading() {
                0
            } else {
                let Some(hit) = rules.prefilter.find(text) else { return };
                memrchr(b'\n', &text[..hit.start()]).map_or(0, |end| end + 1)
            };
            let end = memchr(b'\n', &text[begin..]).map_or(text.len(), |end| begin + end);
            self.whole_line(rules, &text[begin..end]);
            text = text.get(end + 1..).unwrap_or_default();
        }
    }

    /// Whether each line counts.
    fn is_reading(&self) -> bool {
        self.before.is_some() || self.crash.iter().chain(&self.reports).any(|report| report.is_open)
    }

    fn whole_line(&mut self, rules: &Rules, mut line: &[u8]) {
        let mut torn = false;
        while line.len() > LINE_LIMIT {
            self.piece(rules, &line[..LINE_LIMIT], torn, STEP);
            line = &line[STEP..];
            torn = true;
        }
        self.piece(rules, line, torn, LINE_LIMIT);
    }

    fn extend_partial(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.partial.len() == LINE_LIMIT {
                self.partial_piece(STEP);
                self.partial.drain(..STEP);
                self.torn = true;
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
        if self.is_reading() || rules.prefilter.is_match(&partial) {
            self.piece(rules, &partial, self.torn, below);
        }
        self.partial = partial;
    }

    /// Reads a line, or a piece of one: what the kernel began to print before `below`.
    fn piece(&mut self, rules: &Rules, line: &[u8], torn: bool, below: usize) {
        let line = line.trim_ascii_end();
        let mut meant_something = false;
        if rules.prefilter.is_match(line) {
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
                let words = tail::text(words);
                if let Some(title) = rules.title(number, &words) {
                    self.title(title, tail::text(line), &words, start);
                }
                true
            }
        }
    }

    fn title(&mut self, title: rules::Title, line: String, words: &str, start: Start) {
        let before = self.before.take().unwrap_or_default();
        if title.kind.severity() == Severity::Fatal || words.starts_with("Kernel panic") {
            self.panic(title, line, words, start);
            return;
        }
        let mut open = self.reports.iter_mut().rev().chain(&mut self.crash);
        if let Some(report) = open.find(|report| report.takes_title(&title) && report.may_have(start)) {
            report.take_title(&title, line, words);
        } else {
            // Nobody prints two reports at once.
            let same = |report: &&mut Report| report.may_have(start) && report.finding.severity < Severity::Fatal;
            self.reports.iter_mut().chain(&mut self.crash).filter(same).for_each(|report| report.is_open = false);
            self.open(Report::new(title, start, before, line, words));
        }
        self.sort_out();
    }

    fn open(&mut self, report: Report) {
        if self.crash.is_none() && report.finding.severity >= Severity::Broken {
            self.crash = Some(report);
        } else if self.reports.len() < FINDINGS_KEPT {
            self.reports.push(report);
        }
    }

    /// A report may turn out worse than its title: then it is the crash.
    fn sort_out(&mut self) {
        if self.crash.is_none() {
            let worse = self.reports.iter().position(|report| report.finding.severity >= Severity::Broken);
            self.crash = worse.map(|at| self.reports.remove(at));
        }
    }

    /// A panic that follows a report is its consequence, where the kernel is set to panic then.
    fn panic(&mut self, title: rules::Title, line: String, words: &str, start: Start) {
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
            self.crash = self.reports.pop();
        }
        match &mut self.crash {
            Some(crash) => crash.take_panic(line),
            None => self.open(Report::new(title, start, Vec::new(), line, words)),
        }
    }

    /// A line without a meaning of its own belongs to the report that was being printed, if to any.
    fn continue_report(&mut self, line: &[u8], start: Start) {
        let words = tail::text(&line[start.words..]);
        if let Some(before) = &mut self.before {
            if before.len() < BEFORE_TITLE {
                before.push(tail::text(line));
                return;
            }
            self.before = None;
        }
        let mut reports = self.reports.iter_mut().rev().chain(&mut self.crash);
        if let Some(report) = reports.find(|report| report.may_have(start)) {
            report.push(tail::text(line), &words);
        }
    }
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
