//! Why a run ends early.

use std::time::Duration;

/// Why a run ends before its work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The user interrupted it.
    Interrupted,
    /// The limit of the whole run has passed.
    RunLimit(Duration),
}
