//! The final verdict on a job after several attempts. Pure.

use vmlab_events::schedule::Repetition;
use vmlab_events::verdict::{Flakiness, NotRunReason, Verdict};

use super::lab_fault;

/// What the attempts at a job came to: counts, and the first verdict of each class.
#[derive(Debug, Clone, Copy)]
pub struct Outcomes<'a> {
    /// How many ended by themselves.
    pub runs: u32,
    /// How many of them failed.
    pub failures: u32,
    /// How many ended before the first that failed.
    pub good_before: u32,
    /// The first that failed.
    pub failed: Option<&'a Verdict>,
    /// The first that was skipped.
    pub skipped: Option<&'a Verdict>,
    /// The first that was good.
    pub good: Option<&'a Verdict>,
    /// Why there were no more attempts, where there were to be more.
    pub never: Option<&'a Verdict>,
}

/// The final verdict; none where it is the verdict of the attempt that decides: the first that failed, else the first that
/// was skipped, else the first that was good.
#[must_use]
pub fn merge(repetition: Repetition, outcomes: Outcomes<'_>) -> Option<Verdict> {
    let Outcomes { runs, failures, good_before, failed, skipped, good, never } = outcomes;
    match (failed, skipped, good) {
        // All failed.
        (Some(_), None, None) => None,
        (Some(failed), ..) => {
            let (unit, first) = (repetition.unit(), Box::new(failed.clone().without_trace()));
            Some(Verdict::Flaky { reason: Flakiness::SomeFailed { unit, runs, failures, good_before, first } })
        }
        (None, Some(Verdict::Skipped { reason }), Some(_)) => {
            Some(Verdict::Flaky { reason: Flakiness::SomeSkipped { runs, why: reason.clone() } })
        }
        _ => match repetition {
            Repetition::Runs { count: planned } if 0 < runs && runs < planned => {
                let because = Box::new(never.cloned().unwrap_or_else(lab_fault).without_trace());
                Some(Verdict::NotRun { reason: NotRunReason::TooFewRuns { runs, planned, because } })
            }
            _ => None,
        },
    }
}
