//! Why a job has no result of its own.

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::job::Job;
use crate::target::TargetId;

/// Why a job was not run, or not to its end, and nothing says how it would have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NotRunReason {
    /// The user interrupted the run.
    Interrupted,
    /// The limit of the whole run passed before the job's turn came.
    RunLimit {
        /// The limit, in ms.
        limit_ms: u64,
    },
    /// The run was to end with the first failure, and another job failed.
    FailureFound {
        /// The job that failed.
        job: Job,
        /// On which target.
        target: TargetId,
    },
    /// The end of the run cut the attempt short.
    CutShort {
        /// What the verdict on it would have been.
        by: Box<Verdict>,
    },
    /// Fewer runs were made than were to be made, and none of them failed.
    TooFewRuns {
        /// How many ended.
        runs: u32,
        /// How many were to be made.
        planned: u32,
        /// Why there were no more, without a crash's trace.
        because: Box<Verdict>,
    },
    /// The events end before the verdict.
    NoVerdict,
    /// A fault in vmlab lost the verdict.
    LabFault,
    /// The sentence of a record that is older than this type.
    Recorded {
        /// As recorded.
        text: String,
    },
}
