//! Several attempts at one scenario on one kernel, summed up. Pure.

use serde::{Deserialize, Serialize};

use crate::event::JobReport;
use crate::verdict::{Class, Verdict};

/// So many of the first attempts are kept, whatever they came to.
const FIRST_KEPT: usize = 20;
/// So many are kept in all; after the first ones only those that failed.
const KEPT: usize = 200;

/// What a scenario's attempts came to. One that was cut short by the end of the run is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many came to an end of their own.
    pub runs: u32,
    /// How many of those failed, see [`Class::is_failure`].
    pub failures: u32,
    /// In the order of their ends: each of the first 20, later only those that failed, and 200 at most.
    pub kept: Vec<Attempt>,
}

/// What one attempt came to. Its whole report is a [`crate::event::LabEvent::JobAttempted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1, in the order of the announcements.
    pub attempt: u32,
    /// The guest it ran in; none where there never was one.
    pub guest: Option<u32>,
    /// What came of it. A crash's trace is left out.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// From its announcement to its end, ms on the host.
    pub duration_ms: u64,
}

impl Attempts {
    /// Counts one more, unless the end of the run cut it short.
    pub fn add(&mut self, report: &JobReport) {
        let class = report.verdict.class();
        if class == Class::NotRun {
            return;
        }
        self.runs = self.runs.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(class.is_failure()));
        if self.kept.len() < FIRST_KEPT || (class.is_failure() && self.kept.len() < KEPT) {
            let mut verdict = report.verdict.clone();
            if let Verdict::KernelCrashed { trace, .. } = &mut verdict {
                trace.clear();
            }
            let JobReport { attempt, guest, duration_ms, .. } = *report;
            self.kept.push(Attempt { attempt, guest, verdict, duration_ms });
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
    use crate::job::Job;
    use crate::target::TargetId;

    fn report(attempt: u32, verdict: Verdict) -> JobReport {
        let job = Job::Scenario("uts.hostname".parse().unwrap());
        JobReport { attempt, ..JobReport::without_guest(TargetId::new("k"), job, verdict) }
    }

    #[test]
    fn what_the_end_of_the_run_cut_short_is_not_counted() {
        let mut attempts = Attempts::default();
        attempts.add(&report(1, Verdict::NotRun { reason: "the run was interrupted".to_owned() }));
        assert_eq!(attempts, Attempts::default());
    }

    #[test]
    fn all_are_counted_and_failures_are_kept_longer() {
        let mut attempts = Attempts::default();
        for number in 1..=1000 {
            let failed = Verdict::Failed { detail: number.to_string() };
            attempts.add(&report(number, if number % 10 == 0 { failed } else { Verdict::Passed }));
        }
        assert_eq!((attempts.runs, attempts.failures, attempts.kept.len()), (1000, 100, 20 + 98));
        assert_eq!(attempts.failed().count(), 100);
        (1..=1000).for_each(|number| attempts.add(&report(number, Verdict::Failed { detail: String::new() })));
        assert_eq!((attempts.runs, attempts.failures, attempts.kept.len()), (2000, 1100, KEPT));
    }

    #[test]
    fn a_trace_is_kept_in_the_attempts_own_report_only() {
        let mut attempts = Attempts::default();
        let crash = Verdict::KernelCrashed {
            what: "Oops".to_owned(),
            trace: vec!["line".to_owned()],
            kind: None,
            fingerprint: None,
            task: None,
        };
        attempts.add(&report(1, crash));
        let bare = Verdict::KernelCrashed {
            what: "Oops".to_owned(),
            trace: Vec::new(),
            kind: None,
            fingerprint: None,
            task: None,
        };
        assert_eq!(attempts.kept[0].verdict, bare);
    }
}
