//! Why a guest did not come up.

use serde::{Deserialize, Serialize};

use super::{LossCause, LossEvidence, PassedDeadline};

/// Why there was no guest for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LaunchFailure {
    /// QEMU could not be started.
    NotStarted {
        /// The step that failed.
        step: StartFailure,
        /// What the system said.
        error: String,
    },
    /// The guest was lost before its hello.
    Lost {
        /// Why.
        cause: LossCause,
        /// What else is known.
        evidence: Box<LossEvidence>,
        /// How far the boot got.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        console: Option<Box<BootConsole>>,
    },
    /// A deadline passed before the guest's hello.
    TimedOut {
        /// Which deadline.
        #[serde(flatten)]
        passed: PassedDeadline,
        /// What else is known.
        evidence: Box<LossEvidence>,
        /// How far the boot got.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        console: Option<Box<BootConsole>>,
    },
    /// The guest is another machine than was asked for.
    WrongMachine {
        /// How they differ.
        mismatch: Mismatch,
        /// What else is known.
        evidence: Box<LossEvidence>,
        /// The user's parameter on the kernel's command line that is the cause.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parameter: Option<String>,
    },
    /// The guest said hello, and its kernel printed nothing on the console.
    ConsoleSilent {
        /// What else is known.
        evidence: Box<LossEvidence>,
    },
    /// The guest ran out of memory while it booted.
    OutOfMemory {
        /// The console's line that says so.
        line: String,
        /// The guest's memory, in MiB.
        memory_mib: u32,
        /// The user's parameter on the kernel's command line that is the cause.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parameter: Option<String>,
    },
    /// The sentence of a record that is older than this type.
    Recorded {
        /// As recorded.
        text: String,
    },
}

/// The step at which QEMU could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartFailure {
    /// The template's saved state cannot be opened.
    TemplateState,
    /// The host has no entropy for the guest.
    Entropy,
    /// The host's files cannot be served.
    Files,
    /// There is no socket for a debugger.
    Debugger,
    /// There is no socket for the link to another guest.
    Link,
    /// The process cannot be started.
    Process,
}

/// How far a boot got that ended without an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootConsole {
    /// The console's last line that is not empty.
    pub last_line: String,
    /// The line, or one before it, is the kernel's own.
    pub kernel_spoke: bool,
    /// The guest's memory, in MiB: a kernel with too little ends before its first line.
    pub memory_mib: u32,
    /// The user's parameter on the kernel's command line that limits the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
}

/// How a guest differs from the machine that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mismatch {
    /// It runs another kernel.
    Release {
        /// `uname -r` in the guest.
        guest: String,
        /// Of the kernel that was to be booted.
        asked: String,
    },
    /// It has other CPUs.
    Cpus {
        /// Online in the guest.
        guest: u32,
        /// As asked for.
        asked: u32,
    },
    /// It has other memory.
    Memory {
        /// In the guest's zones, in MiB.
        guest_mib: u64,
        /// As asked for, in MiB.
        asked_mib: u64,
    },
    /// It does not have exactly one virtio console.
    Consoles {
        /// How many it has.
        count: usize,
    },
    /// A virtio device has no working driver.
    NoDriver {
        /// The device and its features.
        device: String,
        /// Its status bits.
        status: u32,
    },
    /// A virtio device has failed.
    DeviceFailed {
        /// The device and its features.
        device: String,
        /// Its status bits.
        status: u32,
    },
    /// A virtio device was negotiated as a legacy one.
    LegacyDevice {
        /// The device and its features.
        device: String,
    },
    /// Its kernel does not print warnings on the console.
    ConsoleLevel {
        /// `kernel.printk` in the guest.
        level: u32,
        /// The least that shows warnings.
        needed: u32,
    },
    /// Its kernel does not print on the console that is read.
    OtherConsole {
        /// The console that vmlab reads.
        needed: String,
        /// The consoles that the kernel prints on.
        used: Vec<String>,
    },
}
