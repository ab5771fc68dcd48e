//! The reasons for which a run ends early.

use std::time::Duration;

use crate::verdict::evidence::GuestLoss;
use vmlab_events::verdict::Verdict;

/// Why a run ends before its work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The user interrupted it.
    Interrupted,
    /// The limit of the whole run has passed.
    RunLimit(Duration),
}

impl Stop {
    /// What that means for a guest that runs.
    pub(crate) fn loss(self) -> GuestLoss {
        match self {
            Self::Interrupted => GuestLoss::Interrupted,
            Self::RunLimit(limit) => {
                GuestLoss::RunLimit { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
            }
        }
    }

    /// What that means for a scenario that was never announced.
    pub(crate) fn not_run(self) -> Verdict {
        let reason = match self {
            Self::Interrupted => "the run was interrupted".to_owned(),
            Self::RunLimit(limit) => format!("the run's limit of {} s passed before its turn came", limit.as_secs()),
        };
        Verdict::NotRun { reason }
    }
}
