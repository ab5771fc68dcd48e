//! All verdicts. Each is made by a pure function from the evidence; nothing else in vmlab makes one, except the rendering of
//! an event log that has none ([`vmlab_events::verdict::Verdict::missing`]).

pub mod evidence;
pub mod judge;
mod measured;
pub mod merge;
pub mod outcome;
pub mod pair;
pub mod suite;

use vmlab_events::job::Job;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::{LaunchFailure, NotRunReason, Vanished, Verdict};

use crate::stop::Stop;
use evidence::GuestLoss;

impl Stop {
    /// What the end of the run means for a guest that runs.
    #[must_use]
    pub fn loss(self) -> GuestLoss {
        match self {
            Self::Interrupted => GuestLoss::Interrupted,
            Self::RunLimit(limit) => GuestLoss::RunLimit { limit_ms: crate::milliseconds(limit) },
        }
    }

    /// What the end of the run means for a job that was never announced.
    #[must_use]
    pub fn not_run(self) -> Verdict {
        let reason = match self {
            Self::Interrupted => NotRunReason::Interrupted,
            Self::RunLimit(limit) => NotRunReason::RunLimit { limit_ms: crate::milliseconds(limit) },
        };
        Verdict::NotRun { reason }
    }
}

/// There is no guest, because QEMU could not be started.
#[must_use]
pub const fn not_started(reason: LaunchFailure) -> Verdict {
    Verdict::LaunchFailed { reason }
}

/// The guest was lost after its hello, and had announced nothing.
#[must_use]
pub const fn nothing_announced() -> Verdict {
    Verdict::GuestVanished { reason: Vanished::NothingAnnounced }
}

/// The run was to end with the first failure, and this job failed.
#[must_use]
pub const fn failure_found(job: Job, target: TargetId) -> Verdict {
    Verdict::NotRun { reason: NotRunReason::FailureFound { job, target } }
}

/// Only a fault of vmlab's own, which was reported as such, leaves a job without a verdict.
#[must_use]
pub const fn lab_fault() -> Verdict {
    Verdict::NotRun { reason: NotRunReason::LabFault }
}

/// The verdict on an attempt that the end of the run cut short, of which this would have been the verdict.
#[must_use]
pub fn cut_short(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::NotRun { .. } => verdict,
        other => Verdict::NotRun { reason: NotRunReason::CutShort { by: Box::new(other.without_trace()) } },
    }
}
