//! Several attempts at one job on one target, counted. Pure.

use serde::{Deserialize, Serialize};

use crate::verdict::{Class, Verdict};

/// So many of the first attempts are kept, whatever their verdicts are.
const FIRST_KEPT: usize = 20;
/// So many are kept in all; after the first ones only those that failed.
const KEPT: usize = 200;

/// The attempts at a job. An attempt that the end of the run cut short is not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many ended by themselves.
    pub runs: u32,
    /// How many of those failed, see [`Class::is_failure`].
    pub failures: u32,
    /// In the order of their ends: each of the first 20, later only those that failed, and 200 at most.
    pub kept: Vec<Attempt>,
}

/// One attempt in short. Its whole report is a [`crate::event::LabEvent::JobAttempted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1, in the order of the announcements.
    pub attempt: u32,
    /// The guest it ran in; none where there was no guest.
    pub guest: Option<u32>,
    /// Its verdict, without a crash's trace.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// From its announcement to its end, ms on the host.
    pub duration_ms: u64,
}

impl Attempts {
    /// Counts one more, unless the end of the run cut it short.
    pub fn add(&mut self, attempt: Attempt) {
        let class = attempt.verdict.class();
        if class == Class::NotRun {
            return;
        }
        self.runs = self.runs.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(class.is_failure()));
        if self.kept.len() < FIRST_KEPT || (class.is_failure() && self.kept.len() < KEPT) {
            self.kept.push(attempt);
        }
    }

    /// The attempts that failed, as far as they are kept.
    pub fn failed(&self) -> impl Iterator<Item = &Attempt> {
        self.kept.iter().filter(|attempt| attempt.verdict.class().is_failure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::JobReport;
    use crate::job::Job;
    use crate::target::TargetId;
    use crate::verdict::Failure;

    fn attempt(attempt: u32, verdict: Verdict) -> Attempt {
        let job = Job::Scenario("uts.hostname".parse().unwrap());
        JobReport { attempt, ..JobReport::without_guest(TargetId::new("k"), job, verdict) }.in_short()
    }

    fn failed(finding: &str) -> Verdict {
        Verdict::Failed { reason: Failure::NotIsolated { finding: finding.to_owned() } }
    }

    #[test]
    fn what_the_end_of_the_run_cut_short_is_not_counted() {
        let mut attempts = Attempts::default();
        attempts.add(attempt(1, Verdict::missing(true)));
        assert_eq!(attempts, Attempts::default());
    }

    #[test]
    fn all_are_counted_and_failures_are_kept_longer() {
        let mut attempts = Attempts::default();
        for number in 1..=1000 {
            let failed = failed(&number.to_string());
            attempts.add(attempt(number, if number % 10 == 0 { failed } else { Verdict::Passed }));
        }
        assert_eq!((attempts.runs, attempts.failures, attempts.kept.len()), (1000, 100, 20 + 98));
        assert_eq!(attempts.failed().count(), 100);
        (1..=1000).for_each(|number| attempts.add(attempt(number, failed(""))));
        assert_eq!((attempts.runs, attempts.failures, attempts.kept.len()), (2000, 1100, KEPT));
    }

    #[test]
    fn a_trace_is_kept_in_the_attempts_own_report_only() {
        let mut attempts = Attempts::default();
        let crash = |trace: &[&str]| Verdict::KernelCrashed {
            what: "Oops".to_owned(),
            trace: trace.iter().map(|&line| line.to_owned()).collect(),
            kind: None,
            fingerprint: None,
            task: None,
            pvpanic: None,
            suite: None,
        };
        attempts.add(attempt(1, crash(&["line"])));
        assert_eq!(attempts.kept[0].verdict, crash(&[]));
    }
}
