//! What is known of a guest that did not come to its goodbye.

mod shutdown;

use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::target::TargetId;

pub use shutdown::{ShutdownLine, ShutdownReason};

/// What is known of a guest that did not come to its goodbye.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossReport {
    /// The guest's number.
    pub guest: u32,
    /// The target.
    pub target: TargetId,
    /// The job that the loss belongs to; none where it never got as far.
    pub job: Option<Job>,
    /// How far its session had come.
    pub phase: Phase,
    /// The deadline that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// The kernel reported a panic to QEMU, through pvpanic.
    pub panic_reported: bool,
    /// QEMU's reason for the guest's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<ShutdownReason>,
    /// How the kernel said on the console that it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_line: Option<ShutdownLine>,
    /// How QEMU ended.
    pub qemu: QemuEnd,
    /// The end of what QEMU wrote on standard error, on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub qemu_stderr: String,
    /// The console's last lines; control characters are still in them.
    pub console: Vec<String>,
    /// The CPUs' registers as QEMU's monitor prints them, taken when the guest panicked or ended, or a deadline passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registers: Option<String>,
    /// The guest's memory, where it was to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmcore: Option<Vmcore>,
}

/// A guest's memory in a file, as an ELF core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vmcore {
    /// The file.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it has the note that debuggers find the kernel by; None in old records.
    #[serde(default)]
    pub vmcoreinfo: Option<bool>,
}

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deadline {
    /// From QEMU's start to the kernel's first line on the console.
    Boot,
    /// From there to the hello; of a fork, until it has become a guest of its own.
    Handshake,
    /// From the order for a scenario to its announcement.
    Start,
    /// A whole scenario. The host keeps it.
    Scenario,
    /// One leg of a scenario. The guest keeps it.
    Leg,
    /// The guest sent nothing on any channel, and used no CPU time, while a scenario ran.
    Silence,
    /// A command whose time limit has passed, and which the guest, which keeps that limit, has not ended.
    Command,
    /// From the question whether the agent still answers, while a command runs, to the answer.
    Alive,
    /// From the order to leave to the goodbye.
    Goodbye,
    /// From the first sign of the guest's end to the last.
    Exit,
    /// The whole run.
    Run,
}

impl Deadline {
    /// In text: `scenario start`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Handshake => "handshake",
            Self::Start => "scenario start",
            Self::Scenario => "scenario",
            Self::Leg => "leg",
            Self::Silence => "silence",
            Self::Command => "command",
            Self::Alive => "sign of life",
            Self::Goodbye => "goodbye",
            Self::Exit => "exit",
            Self::Run => "run",
        }
    }
}

/// How far a guest's session had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its hello was due.
    Boot,
    /// It was to become a guest of its own.
    Prepare,
    /// It had nothing to do.
    Idle,
    /// A scenario's announcement was due.
    Asked,
    /// A scenario ran.
    Running,
    /// Its goodbye was due.
    Leaving,
    /// It had said goodbye, or had broken the protocol.
    Over,
}

impl Phase {
    /// For logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Prepare => "prepare",
            Self::Idle => "idle",
            Self::Asked => "asked",
            Self::Running => "running",
            Self::Leaving => "leaving",
            Self::Over => "over",
        }
    }
}

/// How QEMU ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QemuEnd {
    /// It lived until vmlab killed it.
    Lived {
        /// A signal had stopped it (state `T` in `/proc/PID/stat`, proc(5)).
        stopped: bool,
    },
    /// It exited by itself.
    Exited(i32),
    /// A signal that was not vmlab's killed it.
    Killed(i32),
    /// Unknown; why.
    Unknown(String),
}
