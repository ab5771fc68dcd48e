//! Why a guest was given up before its goodbye, and what is known of it.

use serde::{Deserialize, Serialize};
use vmlab_protocol::frame::Truncated;
use vmlab_protocol::message::Leg;

use crate::loss::{Deadline, Phase, QemuEnd, ShutdownLine, ShutdownReason};

/// Why a guest is gone whose kernel did not crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Vanished {
    /// The guest was lost.
    Lost {
        /// Why.
        cause: LossCause,
        /// What else is known.
        evidence: Box<LossEvidence>,
    },
    /// The guest was lost before it announced anything.
    NothingAnnounced,
    /// The sentence of a record that is older than this type.
    Recorded {
        /// As recorded.
        text: String,
    },
}

/// Why a guest was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LossCause {
    /// Something on the host ended QEMU in order; QEMU's reason is in [`LossEvidence::shutdown`].
    HostEndedQemu,
    /// A signal that was not vmlab's killed QEMU; the number is in [`LossEvidence::qemu`].
    QemuKilled,
    /// A signal that was not vmlab's had stopped QEMU.
    QemuStopped,
    /// The guest or its QEMU ended by itself.
    Ended {
        /// How the guest ended; none where only QEMU's end is known.
        guest: Option<GuestEnd>,
    },
    /// The kernel broke, and went on.
    KernelBroke,
    /// The host could not go on with the guest.
    HostFault {
        /// What failed.
        fault: HostFault,
    },
}

/// How a guest ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestEnd {
    /// Its kernel halted.
    Halted,
    /// It powered itself off.
    PoweredOff,
    /// It rebooted itself, and its kernel said so.
    Rebooted,
    /// It asked for a reset, or had a triple fault; its kernel did not say that it reboots.
    Reset,
    /// QEMU shut it down for the reason in [`LossEvidence::shutdown`].
    ShutDown,
    /// Its machine was reset; QEMU's reason is in [`LossEvidence::reset`].
    MachineReset,
}

/// What failed on the host while a guest lived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HostFault {
    /// QEMU's sockets cannot be read.
    Read {
        /// What the system said.
        error: String,
    },
    /// The guest's port cannot be written.
    Write {
        /// What the system said.
        error: String,
    },
    /// The system's random number generator gave nothing.
    Entropy {
        /// What the system said.
        error: String,
    },
    /// QEMU refused a command.
    Refused(RefusedCommand),
}

/// A QMP command that QEMU refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCommand {
    /// The command.
    pub command: String,
    /// QEMU's description of the error.
    pub error: String,
}

/// A deadline that passed, whether for a job or for the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedDeadline {
    /// Which.
    pub deadline: Deadline,
    /// Its length, in ms.
    pub limit_ms: u64,
    /// By how much it was stretched because the host kept QEMU waiting for a CPU, in ms.
    #[serde(default)]
    pub stretched_ms: u64,
    /// What QEMU said of the guest's state then, or why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_state: Option<GuestState>,
}

/// QEMU's answer to the question for the guest's state (query-status).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestState {
    /// The state, as `running`.
    Known(String),
    /// Why there was no answer.
    Unknown(String),
}

/// Which deadline ended a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Timeout {
    /// The guest killed one leg, and went on.
    Leg {
        /// Which.
        leg: Leg,
        /// The leg's limit, in ms.
        limit_ms: u64,
    },
    /// The host gave the guest up.
    Guest {
        /// Which deadline.
        #[serde(flatten)]
        passed: PassedDeadline,
        /// What else is known.
        evidence: Box<LossEvidence>,
    },
    /// The sentence of a record that is older than this type.
    Recorded {
        /// Which deadline; none in records of vmlab's first version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Deadline>,
        /// As recorded.
        text: String,
    },
}

impl Timeout {
    /// Which deadline passed; none in records of vmlab's first version.
    #[must_use]
    pub const fn deadline(&self) -> Option<Deadline> {
        match self {
            Self::Leg { .. } => Some(Deadline::Leg),
            Self::Guest { passed, .. } => Some(passed.deadline),
            Self::Recorded { deadline, .. } => *deadline,
        }
    }
}

/// What is known of a lost guest, apart from the cause. The guest's console and registers are in
/// [`crate::event::LabEvent::GuestLost`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossEvidence {
    /// How far its session was.
    pub phase: Phase,
    /// How QEMU ended.
    pub qemu: QemuEnd,
    /// QEMU's reason for the guest's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<ShutdownReason>,
    /// QEMU's reason for a reset of the guest's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<ShutdownReason>,
    /// How the kernel said on the console that it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_line: Option<ShutdownLine>,
    /// What QEMU did when a watchdog device of the guest ran out, as `reset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog_device: Option<String>,
    /// The first QMP command that QEMU refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedCommand>,
    /// The link ended within this frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_frame: Option<Truncated>,
    /// The control port's host end was closed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub port_closed: bool,
    /// QEMU closed its QMP socket and lived on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub qmp_closed: bool,
    /// The end of what QEMU wrote on standard error, on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub qemu_stderr: String,
    /// What the guest's PID 1 said on the console, because it could not say it on the link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_messages: Vec<String>,
    /// The drivers for the control port that the kernel probably lacks. Only of a guest that did not say hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking: Option<LackingDrivers>,
}

/// Why a kernel probably has no driver for the control port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LackingDrivers {
    /// These modules are neither built in nor among the kernel's modules.
    Modules {
        /// Their names.
        names: Vec<String>,
    },
    /// The kernel's modules were not found, and its configuration is not known.
    Directory {
        /// Where they were looked for.
        looked_in: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires it")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
