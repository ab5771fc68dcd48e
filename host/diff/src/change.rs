//! What became of a job.

use serde::{Deserialize, Serialize};
use vmlab_events::clean;
use vmlab_events::event::JobReport;
use vmlab_events::verdict::{Class, Verdict};

/// How a job's result has changed, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It fails, or fails worse than before.
    Broken,
    /// It had a result and has none.
    Lost,
    /// It fails in another way, which is not worse.
    FailsDifferently,
    /// It is skipped and was not.
    NewlySkipped,
    /// It failed and does not.
    Fixed,
    /// It was skipped, and is as expected now.
    NoLongerSkipped,
    /// It is as expected in both, in two ways: a documented leak in one of them.
    Different,
    /// Only the second run has it.
    Added,
    /// Only the first run has it.
    Removed,
}

impl Kind {
    /// All kinds, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::Broken,
        Self::Lost,
        Self::FailsDifferently,
        Self::NewlySkipped,
        Self::Fixed,
        Self::NoLongerSkipped,
        Self::Different,
        Self::Added,
        Self::Removed,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Lost => "without a result",
            Self::FailsDifferently => "failing differently",
            Self::NewlySkipped => "newly skipped",
            Self::Fixed => "fixed",
            Self::NoLongerSkipped => "no longer skipped",
            Self::Different => "different, both as expected",
            Self::Added => "only in the new run",
            Self::Removed => "only in the old run",
        }
    }

    /// Whether the second run is worse. A skip is not worse, because it has a reason that can be checked.
    #[must_use]
    pub const fn is_regression(self) -> bool {
        matches!(self, Self::Broken | Self::Lost)
    }
}

/// A job whose results are different; or a test of a KUnit suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The job's name; for a test `SUITE: TEST`.
    pub job: String,
    /// How.
    pub kind: Kind,
    /// The first result.
    pub old: Option<Brief>,
    /// The second result.
    pub new: Option<Brief>,
}

/// A result in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// The verdict: `PASS`, `FAIL` and so on.
    pub verdict: String,
    /// Why, in a sentence; empty if there is nothing to say.
    pub detail: String,
}

impl Brief {
    fn of(verdict: &Verdict) -> Self {
        Self { verdict: verdict.label().to_owned(), detail: clean::line(&verdict.detail()) }
    }
}

/// The changes of a job, and of its tests.
pub(crate) fn changes(job: &str, old: Option<&JobReport>, new: Option<&JobReport>) -> Vec<Change> {
    let kind = match (old, new) {
        (Some(old), Some(new)) => kind(&old.verdict, &new.verdict),
        (None, Some(_)) => Some(Kind::Added),
        (Some(_), None) => Some(Kind::Removed),
        (None, None) => None,
    };
    let brief = |report: Option<&JobReport>| report.map(|report| Brief::of(&report.verdict));
    let of_job = kind.map(|kind| Change { job: job.to_owned(), kind, old: brief(old), new: brief(new) });
    let tests = old.zip(new).map(|(old, new)| tests(job, old, new)).unwrap_or_default();
    of_job.into_iter().chain(tests).collect()
}

/// How a verdict has changed. None if it means the same.
fn kind(old: &Verdict, new: &Verdict) -> Option<Kind> {
    let (was, is) = (old.class(), new.class());
    match (was, is) {
        (Class::NotRun, Class::NotRun) | (Class::Skipped, Class::Skipped) => None,
        (_, Class::NotRun) => Some(Kind::Lost),
        // Nothing was known, so that a failure may be new.
        (Class::NotRun, _) if is.is_failure() => Some(Kind::Broken),
        (Class::NotRun, _) => Some(Kind::Different),
        (_, Class::Skipped) => Some(Kind::NewlySkipped),
        (Class::Skipped, Class::Good) => Some(Kind::NoLongerSkipped),
        (_, Class::Good) if was.is_failure() => Some(Kind::Fixed),
        _ if old.label() == new.label() => None,
        (Class::Good, Class::Good) => Some(Kind::Different),
        // Classes are in the order of how bad they are.
        _ if is > was => Some(Kind::Broken),
        _ => Some(Kind::FailsDifferently),
    }
}

/// The changes of the tests of a KUnit suite.
fn tests(job: &str, old: &JobReport, new: &JobReport) -> Vec<Change> {
    use vmlab_events::suite::{Outcome, TestReport};
    let brief = |test: &TestReport| Brief {
        verdict: test.label().to_owned(),
        detail: clean::line(test.headline().unwrap_or_default()),
    };
    let is_good = |test: &TestReport| matches!(test.result, Outcome::Passed | Outcome::ExpectedFailure);
    let change = |now: &TestReport| {
        let before = old.tests.iter().find(|test| test.name == now.name)?;
        let kind = match (before.result, now.result) {
            (was, is) if was == is => return None,
            (_, Outcome::Skipped) => Kind::NewlySkipped,
            (Outcome::Skipped, _) if is_good(now) => Kind::NoLongerSkipped,
            _ if is_good(now) && is_good(before) => Kind::Different,
            _ if is_good(now) => Kind::Fixed,
            (Outcome::Passed | Outcome::ExpectedFailure | Outcome::Skipped, _) => Kind::Broken,
            _ => Kind::FailsDifferently,
        };
        Some(Change { job: format!("{job}: {}", now.name), kind, old: Some(brief(before)), new: Some(brief(now)) })
    };
    new.tests.iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use vmlab_events::suite::{Outcome, TestReport};
    use vmlab_events::verdict::{Failure, Seen, SkipReason};

    use super::*;
    use crate::fixture::{failed, report};

    fn skipped() -> Verdict {
        Verdict::Skipped {
            reason: SkipReason::ConfigNotSet { symbols: vec!["CONFIG_X".to_owned()], evidence: "EINVAL".to_owned() },
        }
    }

    #[test]
    fn what_a_change_is_depends_on_both_verdicts() {
        let leak = || Verdict::Leaks { seen: Seen::Finding("x".to_owned()) };
        let warned = || Verdict::Failed { reason: Failure::NotIsolated { finding: "other".to_owned() } };
        let crash = || Verdict::KernelCrashed {
            what: "Oops".to_owned(),
            trace: Vec::new(),
            kind: None,
            fingerprint: None,
            task: None,
            pvpanic: None,
            suite: None,
        };
        let not_run = || Verdict::missing(false);
        let passed = || Verdict::Passed;
        for (old, new, kind) in [
            (passed(), passed(), None),
            (passed(), failed("x"), Some(Kind::Broken)),
            (skipped(), failed("x"), Some(Kind::Broken)),
            (not_run(), failed("x"), Some(Kind::Broken)),
            (failed("x"), crash(), Some(Kind::Broken)),
            (crash(), failed("x"), Some(Kind::FailsDifferently)),
            (failed("x"), warned(), None),
            (failed("x"), passed(), Some(Kind::Fixed)),
            (failed("x"), leak(), Some(Kind::Fixed)),
            (passed(), leak(), Some(Kind::Different)),
            (passed(), skipped(), Some(Kind::NewlySkipped)),
            (failed("x"), skipped(), Some(Kind::NewlySkipped)),
            (skipped(), skipped(), None),
            (skipped(), leak(), Some(Kind::NoLongerSkipped)),
            (passed(), not_run(), Some(Kind::Lost)),
            (failed("x"), not_run(), Some(Kind::Lost)),
            (not_run(), not_run(), None),
            (not_run(), passed(), Some(Kind::Different)),
        ] {
            assert_eq!(super::kind(&old, &new), kind, "{old:?} {new:?}");
        }
        assert_eq!(Kind::ALL.map(Kind::is_regression).iter().filter(|is| **is).count(), 2);
    }

    #[test]
    fn a_job_of_one_run_only_is_named() {
        let passed = report("k", "uts.a", Verdict::Passed);
        assert_eq!(changes("uts.a", Some(&passed), None)[0].kind, Kind::Removed);
        assert_eq!(changes("uts.a", None, Some(&passed))[0].kind, Kind::Added);
        assert_eq!(changes("uts.a", None, None), []);
    }

    #[test]
    fn the_tests_of_a_suite_are_compared_one_by_one() {
        let suite = |results: &[(&str, Outcome)]| {
            let mut suite = report("k", "kunit.x", Verdict::Passed);
            let test = |&(name, result): &(&str, Outcome)| TestReport {
                name: name.to_owned(),
                result,
                detail: vec!["why".to_owned()],
            };
            suite.tests = results.iter().map(test).collect();
            suite
        };
        let old =
            suite(&[("a", Outcome::Passed), ("b", Outcome::Failed), ("c", Outcome::Passed), ("d", Outcome::Passed)]);
        let new =
            suite(&[("a", Outcome::Failed), ("b", Outcome::Passed), ("c", Outcome::Skipped), ("d", Outcome::Passed)]);
        let found = changes("kunit.x", Some(&old), Some(&new));
        let kinds: Vec<_> = found.iter().map(|change| (change.job.as_str(), change.kind)).collect();
        assert_eq!(
            kinds,
            [("kunit.x: a", Kind::Broken), ("kunit.x: b", Kind::Fixed), ("kunit.x: c", Kind::NewlySkipped)]
        );
        assert_eq!(found[0].new, Some(Brief { verdict: "FAIL".to_owned(), detail: "why".to_owned() }));
    }
}
