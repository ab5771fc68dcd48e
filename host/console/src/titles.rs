//! What a line means, and what it does to the reports.

use crate::kind::{Kind, Severity};
use crate::prefix::{self, Start};
use crate::previous::without_replay;
use crate::report::{Report, is_doubtful};
use crate::reports::taker;
use crate::rules::{Meaning, Rules, Title};
use crate::{BEFORE_TITLE, ConsoleReader, INIT_LINES, Opened, tail};

/// What was learned from a line.
#[derive(Debug, Default)]
struct Learned {
    /// Whether the line has a meaning of its own, so that it continues no report.
    used: bool,
    /// Whether the title was only counted.
    counted: bool,
    /// The rule that it matches.
    rule: Option<usize>,
    /// The report that it opened.
    opened: Option<Opened>,
    /// Where the title's task name ends, in bytes from the message's beginning: nothing begins before.
    named: usize,
}

impl ConsoleReader {
    /// Reads a line, or a part of it between carriage returns. `resumed` says that a carriage return precedes it, and
    /// `may_mean` that it contains an anchor.
    pub(super) fn part(&mut self, rules: &Rules, line: &[u8], limits: Limits, may_mean: bool) {
        if let Some(cut) = without_replay(line) {
            if !cut.is_empty() {
                self.part(rules, cut, limits, may_mean);
            }
            self.previous.replay();
            return;
        }
        if self.previous.is_some() && self.continues_title(rules, line, limits.resumed) {
            return;
        }
        let mut all = Learned::default();
        if may_mean {
            let mut past = 0;
            for start in prefix::starts(line, limits.torn).filter(|start| start.at < limits.below) {
                let words = &line[start.words..];
                // A name may look like a time stamp.
                if let Some(meaning) = rules.meaning(words).filter(|_| start.at >= past) {
                    let learned = self.learn(rules, meaning, line, start);
                    past = start.words + learned.named;
                    all.used |= learned.used;
                    all.counted |= learned.counted;
                    (all.rule, all.opened) = (learned.rule.or(all.rule), learned.opened.or(all.opened));
                }
            }
            // Of a title that is only counted no part is missing that matters.
            if !self.previous.is_some() && !all.counted {
                self.previous.keep(line, limits.torn, all.rule, all.opened);
                self.previous.set_number(self.line_number());
            }
        }
        if !all.used && self.is_reading_report() {
            self.continue_report(line, prefix::of_line(line));
        }
    }

    /// Whether the line was the rest of a title whose beginning is the previous line. A previous line that is printed again
    /// has no effect.
    fn continues_title(&mut self, rules: &Rules, line: &[u8], resumed: bool) -> bool {
        if self.previous.is_replayed_by(line) {
            let opened = self.previous.take_opened();
            self.previous.clear();
            self.forget(opened);
            return false;
        }
        let start = if resumed { Start::default() } else { prefix::of_line(line) };
        let by = if resumed { b'\r' } else { b'\n' };
        for begin in self.previous.join(line, by, start) {
            let words = &self.previous.line()[begin.words..];
            let Some(Meaning::Title(rule)) = rules.meaning(words) else { continue };
            if Some(rule) == self.previous.rule() {
                continue;
            }
            let number = self.previous.number();
            let title = rules.title(rule, words, number);
            let Some(title) = title.filter(|title| words[title.named.clone()].contains(&by)) else { continue };
            let words = tail::text(words);
            let opened = self.previous.take_opened();
            let first = tail::text(self.previous.first_line());
            self.previous.clear();
            self.before = self.forget(opened).or(Some(vec![first]));
            self.title(rules, title, line, &words, begin);
            return true;
        }
        if !self.previous.may_go_on(&line[start.words..]) {
            self.previous.clear();
        }
        false
    }

    /// Removes a report that was opened by a part of a title, and gives its lines.
    fn forget(&mut self, opened: Option<Opened>) -> Option<Vec<String>> {
        let report = match opened? {
            Opened::Crash => self.crash.take(),
            Opened::Report(number) => self.reports.forget(number),
        };
        report.map(|report| report.finding.trace)
    }

    /// Processes the meaning of a line.
    fn learn(&mut self, rules: &Rules, meaning: Meaning, line: &[u8], start: Start) -> Learned {
        let words = &line[start.words..];
        let used = Learned { used: true, ..Learned::default() };
        match meaning {
            Meaning::Banner => {
                if !self.kernel_spoke {
                    self.kernel_spoke = true;
                    self.forget_unstamped();
                }
                self.stamped_kernel |= start.stamped;
                Learned::default()
            }
            Meaning::InitSays(from) => {
                if self.said_by_init.len() < INIT_LINES {
                    self.said_by_init.push(tail::text(words[from..].trim_ascii_start()));
                }
                used
            }
            Meaning::Harmless => used,
            Meaning::CutHere => {
                self.before = Some(vec![tail::text(line)]);
                used
            }
            Meaning::Title(rule) if rules.is_any(rule) && self.stamped_kernel && !start.stamped => Learned::default(),
            Meaning::Title(rule) if self.count(rules, rule, words, start) => Learned { counted: true, ..used },
            Meaning::Title(rule) => match rules.title(rule, words, self.line_number()) {
                Some(title) => {
                    let named = title.named.end;
                    let opened = self.title(rules, title, line, &tail::text(words), start);
                    Learned { rule: Some(rule), opened, named, ..used }
                }
                None => used,
            },
        }
    }

    /// Forgets titles without a time stamp that are any text behind `WARNING: ` or `BUG: `: at the banner those of the firmware
    /// and the boot loader, and at the end those of programs, if the kernel's lines have time stamps.
    pub(super) fn forget_unstamped(&mut self) {
        let unstamped = |report: &Report| report.is_bare() && !report.is_stamped();
        self.reports.retain(|report| !unstamped(report));
        if self.crash.as_ref().is_some_and(unstamped) {
            self.crash = None;
        }
    }

    /// Counts a report if enough similar ones are kept. This is where most titles of an endless stream of reports end.
    fn count(&mut self, rules: &Rules, number: usize, words: &[u8], start: Start) -> bool {
        let Some(kind) = rules.kind(number) else { return false };
        let may_be_crash = self.crash.is_none() && kind.severity() >= Severity::Broken;
        let open = || self.reports.open().iter().chain(&self.crash);
        let may_be_part = open().any(|report| report.is_open && report.may_take(kind));
        let is_doubtful = self.before.is_none() && is_doubtful(kind, rules.is_any(number), start);
        if may_be_crash
            || may_be_part
            || rules.is_panic(number)
            || !self.reports.count(number, kind, words, is_doubtful)
        {
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

    fn title(&mut self, rules: &Rules, title: Title, line: &[u8], words: &str, start: Start) -> Option<Opened> {
        let mut before = self.before.take().unwrap_or_default();
        let is_message = rules.is_any(title.rule) || title.kind == Kind::Inconsistency;
        // The title was the message of this WARN() or BUG().
        if let Some(message) = self.message.take().filter(|_| !is_message) {
            before = self.forget(Some(message)).unwrap_or(before);
        }
        let is_cut = !before.is_empty();
        if rules.is_panic(title.rule) {
            return self.panic(title, line, words, start);
        }
        let mut opened = None;
        if let Some(report) = taker(self.reports.open_mut().iter_mut().rev().chain(&mut self.crash), &title, start) {
            report.take_title(&title, line, words);
        } else {
            self.end_others(start);
            opened = Some(self.open(title, start, before, line, words));
            self.message = opened.filter(|_| is_cut && is_message);
        }
        // A later title may raise the severity: the report then becomes the crash.
        if self.crash.is_none() {
            self.crash = self.reports.take_worse();
        }
        self.reports.sweep();
        opened
    }

    pub(super) fn open(&mut self, title: Title, start: Start, before: Vec<String>, line: &[u8], words: &str) -> Opened {
        let rule = title.rule;
        let is_crash = self.crash.is_none() && title.kind.severity() >= Severity::Broken;
        let is_brief = !is_crash && self.reports.is_brief(rule, words.as_bytes());
        let mut report = Report::new(title, start, before, tail::text(line), words, is_brief);
        report.finding.suite = self.running_suite().map(str::to_owned);
        if is_crash {
            report.number = self.reports.next_number();
            self.crash = Some(report);
            Opened::Crash
        } else {
            Opened::Report(self.reports.begin(rule, words.as_bytes(), report))
        }
    }

    /// Adds a line without its own meaning to the report that is being printed, if any.
    fn continue_report(&mut self, line: &[u8], start: Start) {
        self.message = None;
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

/// Which messages of a line are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The beginning of the line is missing.
    pub(super) torn: bool,
    /// Only messages that begin before this offset are read, in bytes.
    pub(super) below: usize,
    /// A carriage return precedes the line.
    pub(super) resumed: bool,
}
