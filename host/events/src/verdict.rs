//! What came of a scenario: one [`Verdict`], reached by pure functions from all the evidence.

use serde::{Deserialize, Serialize};
use vmlab_console::{Crash, Kind, Task};

use crate::loss::Watchdog;

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
    /// Of several attempts some failed and others did not.
    Flaky {
        /// How many, and what came of the first that failed.
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
        which: Option<Watchdog>,
    },
    /// The kernel panicked, oopsed or otherwise broke.
    KernelCrashed {
        /// The title line from the console.
        what: String,
        /// The lines of the report.
        trace: Vec<String>,
        /// What it is; none in records of vmlab's first version, as what follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<Kind>,
        /// The same for the same crash on every run and kernel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
        /// The task that ran then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<Task>,
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
    /// Some attempts failed, others did not.
    Flaky,
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

impl Class {
    /// Whether another attempt is worth it, and whether it counts against the scenario: it ran, or should have, and what
    /// came of it is neither good nor a skip.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Good | Self::Skipped | Self::NotRun => false,
            Self::Flaky | Self::Bad | Self::TimedOut | Self::Crashed | Self::Lab => true,
        }
    }
}

impl Verdict {
    /// The verdict that a crash on the console is.
    #[must_use]
    pub fn crashed(crash: &Crash) -> Self {
        Self::KernelCrashed {
            what: crash.title.clone(),
            trace: crash.trace.clone(),
            kind: Some(crash.kind),
            fingerprint: Some(crash.fingerprint.clone()).filter(|name| !name.is_empty()),
            task: crash.task.clone(),
        }
    }

    /// The crash's fingerprint and task, in words for a line of a report; None where it has none.
    #[must_use]
    pub fn crash_identity(&self) -> Option<String> {
        let Self::KernelCrashed { fingerprint: Some(name), task, .. } = self else { return None };
        let task = task.as_ref().map(|task| format!(" in {task}")).unwrap_or_default();
        Some(format!("{name}{task}"))
    }

    /// What it means for whoever asked.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Passed | Self::Leaks { .. } => Class::Good,
            Self::Skipped { .. } => Class::Skipped,
            Self::Flaky { .. } => Class::Flaky,
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
            Self::Flaky { .. } => "FLAKY",
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
            | Self::Flaky { detail }
            | Self::TimedOut { detail, .. }
            | Self::GuestVanished { detail }
            | Self::LaunchFailed { detail }
            | Self::ProtocolViolation { detail } => detail,
            Self::Skipped { reason } | Self::NotRun { reason } => reason,
            Self::KernelCrashed { what, .. } => what,
        }
    }
}
