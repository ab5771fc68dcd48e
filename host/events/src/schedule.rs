//! How jobs are kept apart, and how often each of them runs.

use serde::{Deserialize, Serialize};

/// How a target's scenarios are distributed over guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A guest of its own for each scenario, forked from a booted one.
    Fork,
    /// One guest for all scenarios of a target; a new one after a crash.
    Shared,
    /// A guest of its own for each scenario, booted for it.
    Boot,
}

impl Isolation {
    /// As the user writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Shared => "shared",
            Self::Boot => "boot",
        }
    }
}

/// How a fork starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForkMethod {
    /// As a copy of the template's QEMU process where that works, else by loading the template's state into a new QEMU.
    #[default]
    Auto,
    /// As [`Self::Auto`], also if a copy has failed before.
    Thaw,
    /// By loading the template's state into a new QEMU.
    Restore,
}

/// How often each scenario runs on each target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Repetition {
    /// Once.
    #[default]
    Once,
    /// Once, and again while it fails.
    Retries {
        /// The most further attempts.
        at_most: u32,
    },
    /// A number of times, whatever the verdicts are.
    Runs {
        /// The number.
        count: u32,
    },
    /// Round after round, until a scenario fails on a target.
    UntilFailure {
        /// The most rounds; None is no limit.
        at_most: Option<u32>,
    },
}

impl Repetition {
    /// The most rounds. In each round all scenarios run once on all targets.
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

    /// How a run repeats a job, for programs that read events; in text each execution is an attempt.
    #[must_use]
    pub const fn unit(self) -> AttemptKind {
        if self.measures() { AttemptKind::Run } else { AttemptKind::Attempt }
    }
}

/// How a run repeats a job, for programs that read events; in text each execution is an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// One of a number of runs that are counted.
    Run,
    /// One of the attempts of which the next follows a failure.
    Attempt,
}
