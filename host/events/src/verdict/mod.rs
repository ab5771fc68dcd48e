//! The result of a job on a target: one [`Verdict`], whose details are fields. [`crate::text`] renders them.

mod failure;
mod flaky;
mod launch;
mod lost;
mod not_run;
mod violation;

use serde::{Deserialize, Serialize};
use vmlab_console::{Kind, Task};

use crate::loss::{Phase, QemuEnd};

pub use failure::{Failure, SkipReason};
pub use flaky::Flakiness;
pub use launch::{BootConsole, LaunchFailure, Mismatch, StartFailure};
pub use lost::{
    GuestEnd, GuestState, HostFault, LackingDrivers, LossCause, LossEvidence, PassedDeadline, RefusedCommand, Timeout,
    Vanished,
};
pub use not_run::NotRunReason;
pub use violation::{Order, SessionState, Violation};

/// The result of one job on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The subject was isolated and the control leaked; or no test of the KUnit suite failed.
    Passed,
    /// The subject leaked, a test or a leg failed, or the kernel warned.
    Failed {
        /// Which of these.
        reason: Failure,
    },
    /// The control did not leak: the scenario proves nothing.
    Vacuous {
        /// What the control leg saw.
        #[serde(flatten)]
        seen: Seen,
    },
    /// Linux does not isolate this, as documented.
    Leaks {
        /// What the subject leg saw.
        #[serde(flatten)]
        seen: Seen,
    },
    /// A documented leak has stopped.
    Changed {
        /// What the subject leg saw.
        #[serde(flatten)]
        seen: Seen,
    },
    /// Some attempts failed and others did not.
    Flaky {
        /// How many, and the first that failed.
        reason: Flakiness,
    },
    /// The kernel does not have the feature.
    Skipped {
        /// A reason that can be checked.
        reason: SkipReason,
    },
    /// A deadline passed.
    TimedOut {
        /// Which deadline, and what is known besides.
        reason: Timeout,
    },
    /// The kernel panicked, oopsed or otherwise broke.
    KernelCrashed {
        /// The title line from the console.
        what: String,
        /// The lines of the report.
        trace: Vec<String>,
        /// The kind of report; none in records of vmlab's first version, as the fields below.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<Kind>,
        /// The same for the same crash on every run and kernel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
        /// The task that ran then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<Box<Task>>,
        /// Set where the kernel reported the panic through pvpanic only, and the console does not show it: how far the
        /// session was. The trace is then the console's last line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pvpanic: Option<Phase>,
        /// The KUnit suite that ran then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suite: Option<String>,
    },
    /// The guest ended, and the kernel did not say why.
    GuestVanished {
        /// What is known.
        reason: Vanished,
    },
    /// QEMU or the kernel did not come up as far as the guest's hello.
    LaunchFailed {
        /// What is known.
        reason: LaunchFailure,
    },
    /// The guest broke the protocol, or the link was damaged.
    ProtocolViolation {
        /// What was received.
        reason: Violation,
        /// What else is known of the guest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Box<LossEvidence>>,
    },
    /// It was never started.
    NotRun {
        /// Why.
        reason: NotRunReason,
    },
}

/// What a leg saw, in the words of the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// As the leg reported it.
    Finding(String),
    /// The whole sentence of a record that is older than this type.
    Recorded(String),
}

/// What a verdict means for the user.
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
    /// A deadline passed.
    TimedOut,
    /// The kernel crashed.
    Crashed,
    /// The lab failed, not the kernel: launch failed, guest vanished, protocol violated.
    Lab,
    /// It was never started.
    NotRun,
}

impl Class {
    /// Whether the attempt counts against the job, and another attempt is worth it: the job ran, or should have run, and
    /// the verdict is neither good nor a skip.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Good | Self::Skipped | Self::NotRun => false,
            Self::Flaky | Self::Bad | Self::TimedOut | Self::Crashed | Self::Lab => true,
        }
    }
}

impl Verdict {
    /// The verdict on a job that was announced and has no verdict in the events: absence is never a pass.
    #[must_use]
    pub const fn missing(interrupted: bool) -> Self {
        let reason = if interrupted { NotRunReason::Interrupted } else { NotRunReason::NoVerdict };
        Self::NotRun { reason }
    }

    /// The verdict without a crash's trace, for use beside the whole verdict.
    #[must_use]
    pub fn without_trace(mut self) -> Self {
        // The trace of a panic that the console does not show is the console's last line, which is part of its text.
        if let Self::KernelCrashed { trace, pvpanic: None, .. } = &mut self {
            trace.clear();
        }
        self
    }

    /// The crash's fingerprint and task in one line; None where there is no fingerprint.
    #[must_use]
    pub fn crash_identity(&self) -> Option<String> {
        let Self::KernelCrashed { fingerprint: Some(name), task, .. } = self else { return None };
        let task = task.as_ref().map(|task| format!(" in {task}")).unwrap_or_default();
        Some(format!("{name}{task}"))
    }

    /// The class of the verdict, which decides the exit code.
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

    /// Whether the host lost the guest or could not start it, so that the job was not tried: QEMU cannot be started, fails
    /// by itself, is ended, killed or stopped by another process, or cannot be spoken with.
    #[must_use]
    pub fn is_loss_by_host(&self) -> bool {
        let (cause, evidence) = match self {
            Self::LaunchFailed { reason: LaunchFailure::NotStarted { .. } } => return true,
            Self::LaunchFailed { reason: LaunchFailure::Lost { cause, evidence, .. } }
            | Self::GuestVanished { reason: Vanished::Lost { cause, evidence } } => (cause, evidence),
            _ => return false,
        };
        match cause {
            LossCause::HostEndedQemu | LossCause::QemuKilled | LossCause::QemuStopped | LossCause::HostFault { .. } => {
                true
            }
            LossCause::Ended { guest: None } => matches!(evidence.qemu, QemuEnd::Exited(code) if code != 0),
            LossCause::Ended { guest: Some(_) } | LossCause::KernelBroke => false,
        }
    }

    /// Its printed form in tables.
    #[must_use]
    pub const fn label(&self) -> &'static str {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::evidence_in;

    #[test]
    fn only_what_the_host_did_to_qemu_is_a_loss_by_the_host() {
        let evidence = |qemu| Box::new(evidence_in(Phase::Running, qemu));
        let entropy = || LossCause::HostFault { fault: HostFault::Entropy { error: "EIO".to_owned() } };
        let ended = |guest| LossCause::Ended { guest };
        for (cause, qemu, by_host) in [
            (LossCause::QemuKilled, QemuEnd::Killed(9), true),
            (LossCause::QemuKilled, QemuEnd::Killed(7), true),
            (LossCause::HostEndedQemu, QemuEnd::Exited(0), true),
            (LossCause::QemuStopped, QemuEnd::Lived { stopped: true }, true),
            (entropy(), QemuEnd::Lived { stopped: false }, true),
            (ended(None), QemuEnd::Exited(1), true),
            (ended(None), QemuEnd::Exited(0), false),
            (ended(Some(GuestEnd::Reset)), QemuEnd::Exited(1), false),
            (LossCause::KernelBroke, QemuEnd::Lived { stopped: false }, false),
        ] {
            let vanished = Vanished::Lost { cause: cause.clone(), evidence: evidence(qemu.clone()) };
            let launch = LaunchFailure::Lost { cause, evidence: evidence(qemu), console: None };
            for verdict in [Verdict::GuestVanished { reason: vanished }, Verdict::LaunchFailed { reason: launch }] {
                assert_eq!(verdict.is_loss_by_host(), by_host, "{verdict:?}");
            }
        }
        let step = StartFailure::Process;
        let reason = LaunchFailure::NotStarted { step, error: "EAGAIN".to_owned() };
        assert!(Verdict::LaunchFailed { reason }.is_loss_by_host());
        assert!(!Verdict::Passed.is_loss_by_host());
    }
}
