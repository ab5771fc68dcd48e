//! The reasons for which a run ends early.

use std::time::Duration;

use crate::verdict::evidence::GuestLoss;
use vmlab_events::verdict::Verdict;

/// Why a run ends before its work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The user interrupted the run.
    Interrupted,
    /// The run's time limit has passed.
    RunLimit(Duration),
}

impl Stop {
    /// The loss of a running guest.
    pub(crate) fn loss(self) -> GuestLoss {
        match self {
            Self::Interrupted => GuestLoss::Interrupted,
            Self::RunLimit(limit) => {
                GuestLoss::RunLimit { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
            }
        }
    }

    /// The verdict of a job that was never announced.
    pub(crate) fn not_run(self) -> Verdict {
        let reason = match self {
            Self::Interrupted => "the run was interrupted".to_owned(),
            Self::RunLimit(limit) => format!("the run's limit of {} s passed before its turn came", limit.as_secs()),
        };
        Verdict::NotRun { reason }
    }
}
