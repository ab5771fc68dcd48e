//! What came of a scenario: one [`Verdict`], reached by pure functions from all the evidence.

pub mod console;
pub mod evidence;
pub mod judge;
pub mod outcome;

use serde::{Deserialize, Serialize};

/// What came of one scenario on one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The subject was isolated and the control leaked.
    Passed,
    /// The subject leaked, or a leg failed.
    Failed {
        /// What was seen.
        detail: String,
    },
    /// The control did not leak: the scenario proves nothing.
    Vacuous {
        /// What was seen.
        detail: String,
    },
    /// Linux does not isolate this, as documented.
    Leaks {
        /// What was seen.
        detail: String,
    },
    /// A documented leak has stopped.
    Changed {
        /// What was seen.
        detail: String,
    },
    /// The kernel does not have the feature.
    Skipped {
        /// A reason that can be checked.
        reason: String,
    },
    /// A time limit ended it.
    TimedOut {
        /// Which limit, and how long it was.
        detail: String,
        /// The same for machines; None in records that are older than this field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        which: Option<evidence::Watchdog>,
    },
    /// The kernel panicked, oopsed or otherwise broke.
    KernelCrashed {
        /// The title line from the console.
        what: String,
        /// The console from there on.
        trace: Vec<String>,
    },
    /// The guest ended, and nothing says why.
    GuestVanished {
        /// What is known.
        detail: String,
    },
    /// QEMU or the kernel did not come up as far as the guest's first word.
    LaunchFailed {
        /// What is known.
        detail: String,
    },
    /// The guest said what it may not say, or the link was damaged.
    ProtocolViolation {
        /// What was received.
        detail: String,
    },
    /// It was never started.
    NotRun {
        /// Why.
        reason: String,
    },
}

/// What a verdict means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// As expected: [`Verdict::Passed`] and [`Verdict::Leaks`].
    Good,
    /// The kernel does not have the feature.
    Skipped,
    /// A check failed: [`Verdict::Failed`], [`Verdict::Vacuous`], [`Verdict::Changed`].
    Bad,
    /// A time limit ended it.
    TimedOut,
    /// The kernel crashed.
    Crashed,
    /// The lab, not the kernel: launch failed, guest vanished, protocol violated.
    Lab,
    /// It was never started.
    NotRun,
}

impl Verdict {
    /// What it means for whoever asked.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Passed | Self::Leaks { .. } => Class::Good,
            Self::Skipped { .. } => Class::Skipped,
            Self::Failed { .. } | Self::Vacuous { .. } | Self::Changed { .. } => Class::Bad,
            Self::TimedOut { .. } => Class::TimedOut,
            Self::KernelCrashed { .. } => Class::Crashed,
            Self::GuestVanished { .. } | Self::LaunchFailed { .. } | Self::ProtocolViolation { .. } => Class::Lab,
            Self::NotRun { .. } => Class::NotRun,
        }
    }

    /// One word for tables.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "PASS",
            Self::Failed { .. } => "FAIL",
            Self::Vacuous { .. } => "VACUOUS",
            Self::Leaks { .. } => "LEAK",
            Self::Changed { .. } => "CHANGED",
            Self::Skipped { .. } => "SKIP",
            Self::TimedOut { .. } => "TIMEOUT",
            Self::KernelCrashed { .. } => "CRASH",
            Self::GuestVanished { .. } => "VANISHED",
            Self::LaunchFailed { .. } => "NO-BOOT",
            Self::ProtocolViolation { .. } => "GARBLED",
            Self::NotRun { .. } => "NOT-RUN",
        }
    }

    /// The sentence that goes with the word; empty for [`Verdict::Passed`].
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Passed => "",
            Self::Failed { detail }
            | Self::Vacuous { detail }
            | Self::Leaks { detail }
            | Self::Changed { detail }
            | Self::TimedOut { detail, .. }
            | Self::GuestVanished { detail }
            | Self::LaunchFailed { detail }
            | Self::ProtocolViolation { detail } => detail,
            Self::Skipped { reason } | Self::NotRun { reason } => reason,
            Self::KernelCrashed { what, .. } => what,
        }
    }
}
