//! How jobs are kept apart, and how often each of them runs.

use serde::{Deserialize, Serialize};
use vmlab_protocol::catalogue::ScenarioSpec;

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

    /// The scenarios of each guest to be started.
    #[must_use]
    pub fn batches(self, scenarios: &[ScenarioSpec]) -> Vec<Vec<ScenarioSpec>> {
        match self {
            Self::Shared if scenarios.is_empty() => Vec::new(),
            Self::Shared => vec![scenarios.to_vec()],
            Self::Fork | Self::Boot => scenarios.iter().map(|spec| vec![spec.clone()]).collect(),
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
    /// So many times, whatever the verdicts are.
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

    /// Whether the run measures how often scenarios fail.
    #[must_use]
    pub const fn measures(self) -> bool {
        matches!(self, Self::Runs { .. } | Self::UntilFailure { .. })
    }

    /// What one of several executions of a job is called.
    #[must_use]
    pub const fn unit(self) -> Attempted {
        if self.measures() { Attempted::Run } else { Attempted::Attempt }
    }
}

/// What one of several executions of a job is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attempted {
    /// One of a number of runs that are counted.
    Run,
    /// One of the attempts of which the next follows a failure.
    Attempt,
}

impl Attempted {
    /// `run` or `attempt`.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Attempt => "attempt",
        }
    }
}
