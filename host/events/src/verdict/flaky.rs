//! Why attempts do not agree.

use serde::{Deserialize, Serialize};

use super::{SkipReason, Verdict};
use crate::schedule::AttemptKind;

/// How attempts at one job differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Flakiness {
    /// Some failed, others did not.
    SomeFailed {
        /// Whether they are runs that were to be counted, or attempts after a failure.
        unit: AttemptKind,
        /// How many ended.
        runs: u32,
        /// How many of them failed.
        failures: u32,
        /// How many ended before the first that failed.
        good_before: u32,
        /// The verdict on the first that failed, without a crash's trace.
        first: Box<Verdict>,
    },
    /// Some were skipped, others were not.
    SomeSkipped {
        /// How many ended.
        runs: u32,
        /// Why the first was skipped.
        why: SkipReason,
    },
    /// The sentence of a record that is older than this type.
    Recorded {
        /// As recorded.
        text: String,
    },
}
