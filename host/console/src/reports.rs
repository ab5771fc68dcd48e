//! The reports that are not the crash: the first ones are kept, further ones are counted.
//!
//! A kernel can print the same report a million times, with dozens of lines each. Once [`ALIKE`] reports with the same
//! title or [`KEPT`] reports in total are kept, a further report is only counted. Its lines are not parsed, unless they
//! decide how to count it: the killed process and cgroup of an OOM kill, or a following title that belongs to the
//! report.

use std::collections::{BTreeMap, HashMap};

use super::finding::{Finding, Located};
use super::fingerprint::alike;
use super::kind::{Ending, Kind, Severity};
use super::prefix::Start;
use super::report::Report;
use super::rules::Title;

/// The maximum number of reports with the same title that are kept until they are taken.
pub(super) const ALIKE: u64 = 8;
/// The maximum number of reports that are kept until they are taken.
pub(super) const KEPT: usize = 64;

/// The counts of reports with the same title.
#[derive(Debug)]
struct Alike {
    kind: Kind,
    /// The number of kept reports.
    kept: u64,
    /// The number of reports that were only counted.
    more: u64,
    /// The number of the last kept report.
    last: u64,
}

/// The reports that are not the crash, until they are taken.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// The reports that are being printed, in the order in which they began.
    open: Vec<Report>,
    /// The kept reports that have ended.
    ended: Vec<Report>,
    alike: HashMap<Vec<u8>, Alike>,
    /// The number of reports of each kind of which nothing is kept.
    unkept: BTreeMap<Kind, u64>,
    /// The number of reports among them that a program may have printed ([`Report::is_doubtful`]).
    unkept_doubtful: BTreeMap<Kind, u64>,
    /// The number of reports that have begun.
    begun: u64,
    /// The number of the report that the last title began or was counted with.
    latest: u64,
    /// The key of the current title.
    key: Vec<u8>,
}

impl Reports {
    pub(super) fn open(&self) -> &[Report] {
        &self.open
    }

    pub(super) fn open_mut(&mut self) -> &mut [Report] {
        &mut self.open
    }

    /// Counts a report if its title is sufficient to do so. `rule` is the number of the title's rule.
    pub(super) fn count(&mut self, rule: usize, kind: Kind, words: &[u8], is_doubtful: bool) -> bool {
        if !kind.is_known_by_title() || !self.is_brief(rule, words) {
            return false;
        }
        self.add(kind, is_doubtful);
        true
    }

    /// Begins a report; its title has this rule and this text.
    pub(super) fn begin(&mut self, rule: usize, words: &[u8], mut report: Report) -> u64 {
        alike(rule, words, &mut self.key);
        report.number = self.next_number();
        self.latest = report.number;
        if report.is_brief {
            report.key.clone_from(&self.key);
            // No kernel prints this many reports at once: the end of the oldest was not recognised.
            if self.open.len() > KEPT {
                self.open[0].is_open = false;
            }
        } else {
            let number = report.number;
            let alike = self.alike.entry(self.key.clone()).or_insert(Alike::new(report.finding.kind));
            (alike.kept, alike.last) = (alike.kept + 1, number);
        }
        self.open.push(report);
        self.sweep();
        self.begun
    }

    /// The number of a report that begins now.
    pub(super) const fn next_number(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// Removes and returns a report. It stays counted among those with its title.
    pub(super) fn forget(&mut self, number: u64) -> Option<Report> {
        self.take_last(|report| report.number == number)
    }

    /// Removes and returns the latest kept report of those that fit.
    pub(super) fn take_last(&mut self, fits: impl Fn(&Report) -> bool) -> Option<Report> {
        let fitting = self.open.iter().chain(&self.ended).filter(|report| !report.is_brief && fits(report));
        // The last title may have been counted with an earlier one.
        let number = fitting.map(|report| report.number).max_by_key(|number| (*number == self.latest, *number))?;
        [&mut self.open, &mut self.ended].into_iter().find_map(|reports| {
            let at = reports.iter().position(|report| report.number == number)?;
            Some(reports.remove(at))
        })
    }

    /// Keeps the reports that pass, and forgets later ones with the titles of the others.
    pub(super) fn retain(&mut self, keep: impl Fn(&Report) -> bool) {
        let all = self.open.iter().chain(&self.ended);
        let dropped: Vec<u64> = all.filter(|report| !keep(report)).map(|report| report.number).collect();
        if dropped.is_empty() {
            return;
        }
        self.open.retain(&keep);
        self.ended.retain(&keep);
        self.alike.retain(|_, alike| !dropped.contains(&alike.last));
    }

    /// Forgets the reports that a program may have printed.
    pub(super) fn forget_doubtful(&mut self) {
        self.retain(|report| !report.is_doubtful());
        self.unkept_doubtful.clear();
    }

    /// Adds a report that was the crash, in the place where it began.
    pub(super) fn add_back(&mut self, report: Report) {
        self.ended.push(report);
    }

    /// Moves the reports that have ended out of the open ones.
    pub(super) fn sweep(&mut self) {
        while let Some(at) = self.open.iter().position(|report| !report.is_open) {
            let report = self.open.remove(at);
            self.store(report);
        }
    }

    /// Removes and returns an open report whose severity makes it the crash.
    pub(super) fn take_worse(&mut self) -> Option<Report> {
        let worse = self.open.iter().position(|report| report.finding.severity >= Severity::Broken)?;
        Some(self.open.remove(worse))
    }

    /// Removes and returns the report that the last title belongs to.
    pub(super) fn take_latest(&mut self) -> Option<Report> {
        let place = |reports: &[Report]| reports.iter().position(|report| report.number == self.latest);
        match (place(&self.open), place(&self.ended)) {
            (Some(at), _) => Some(self.open.remove(at)),
            (None, Some(at)) => Some(self.ended.remove(at)),
            (None, None) => self.open.pop().or_else(|| self.ended.pop()),
        }
    }

    /// Takes all reports in the order in which they began. Ends reports that are still being printed.
    pub(super) fn take(&mut self) -> Vec<Located> {
        self.open.iter_mut().for_each(|report| report.is_open = false);
        self.sweep();
        let mut reports = std::mem::take(&mut self.ended);
        reports.sort_by_key(|report| report.number);
        for alike in std::mem::take(&mut self.alike).into_values().filter(|alike| alike.more > 0) {
            match reports.iter_mut().find(|report| report.number == alike.last) {
                Some(report) => report.finding.more_alike = alike.more,
                // The report has become the crash.
                None => *self.unkept.entry(alike.kind).or_default() += alike.more,
            }
        }
        for (kind, count) in std::mem::take(&mut self.unkept_doubtful) {
            *self.unkept.entry(kind).or_default() += count;
        }
        let unkept = std::mem::take(&mut self.unkept);
        let counted = unkept.into_iter().map(|(kind, count)| Finding::of_count(kind, count));
        let counted = counted.map(|finding| Located { line: None, finding });
        let kept = reports.into_iter().map(|report| Located { line: report.line, finding: report.finding });
        kept.chain(counted).collect()
    }

    /// Whether a report with this title is only counted. Sets `key` to the title's key.
    pub(super) fn is_brief(&mut self, rule: usize, words: &[u8]) -> bool {
        alike(rule, words, &mut self.key);
        let enough = self.alike.get(&self.key).is_some_and(|alike| alike.kept >= ALIKE);
        enough || self.kept() >= KEPT
    }

    fn kept(&self) -> usize {
        self.ended.len() + self.open.iter().filter(|report| !report.is_brief).count()
    }

    /// Counts a report under `key`.
    fn add(&mut self, kind: Kind, is_doubtful: bool) {
        match self.alike.get_mut(&self.key) {
            Some(alike) => {
                alike.more += 1;
                self.latest = alike.last;
            }
            None if is_doubtful => *self.unkept_doubtful.entry(kind).or_default() += 1,
            None => *self.unkept.entry(kind).or_default() += 1,
        }
    }

    fn store(&mut self, mut report: Report) {
        let Finding { kind, title, cgroup, .. } = &report.finding;
        let kind = *kind;
        if kind.ending() == Ending::Killed {
            // OOM kills are counted by process and cgroup, which are known only now.
            let words = format!("{title}\0{}", cgroup.as_deref().unwrap_or_default());
            alike(usize::MAX, words.as_bytes(), &mut self.key);
            if !report.is_brief || (!self.alike.contains_key(&self.key) && self.kept() < KEPT) {
                let alike = self.alike.entry(self.key.clone()).or_insert(Alike::new(kind));
                (alike.kept, alike.last) = (alike.kept + 1, report.number);
                report.keep_whole();
            }
        } else if report.is_brief {
            self.key.clone_from(&report.key);
        }
        if report.is_brief {
            self.add(kind, report.is_doubtful());
        } else {
            self.ended.push(report);
        }
    }
}

impl Alike {
    const fn new(kind: Kind) -> Self {
        Self { kind, kept: 0, more: 0, last: 0 }
    }
}

/// The open report that a title is part of, if any.
pub(super) fn taker<'a>(
    mut reports: impl Iterator<Item = &'a mut Report>,
    title: &Title,
    start: Start,
) -> Option<&'a mut Report> {
    reports.find(|report| report.takes_title(title) && report.may_have(start))
}
