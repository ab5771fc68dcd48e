//! How jobs are kept apart, and how often each of them runs.

use serde::{Deserialize, Serialize};

/// How scenarios are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A guest of its own for each scenario, forked from a booted one.
    Fork,
    /// One guest for all scenarios of a kernel; a fresh one after a crash.
    Shared,
    /// A freshly booted guest for each scenario.
    Boot,
}

impl Isolation {
    /// As typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Shared => "shared",
            Self::Boot => "boot",
        }
    }
}

/// How often each scenario runs on each kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Repetition {
    /// Once.
    #[default]
    Once,
    /// Until it does not fail, at most so many times more.
    Retries {
        /// How many times more.
        at_most: u32,
    },
    /// So many times, whatever comes of it.
    Runs {
        /// How many times.
        count: u32,
    },
    /// Round after round, until a scenario fails on a kernel.
    UntilFailure {
        /// No more rounds than these; none is no limit.
        at_most: Option<u32>,
    },
}

impl Repetition {
    /// How many rounds there are at most, in each of which all scenarios run once on all kernels.
    #[must_use]
    pub const fn rounds(self) -> u32 {
        match self {
            Self::Once | Self::Retries { .. } => 1,
            Self::Runs { count } => count,
            Self::UntilFailure { at_most: Some(count) } => count,
            Self::UntilFailure { at_most: None } => u32::MAX,
        }
    }

    /// Whether it is to be found out how often scenarios fail.
    #[must_use]
    pub const fn measures(self) -> bool {
        matches!(self, Self::Runs { .. } | Self::UntilFailure { .. })
    }

    /// What one of several is called.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        if self.measures() { "run" } else { "attempt" }
    }
}
