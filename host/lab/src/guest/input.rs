//! The inputs and actions of [`super::machine::GuestMachine`].

use std::process::ExitStatus;
use std::time::Instant;

use vmlab_events::event::{JobReport, LabEvent, NotNeeded};
use vmlab_events::loss::{QemuEnd, Vmcore};
use vmlab_events::verdict::HostFault;
use vmlab_qemu::cpu_usage::CpuUsage;
use vmlab_qemu::qmp::TimedQmpEvent;

use crate::attempts::AttemptEnd;
use crate::command::{CommandInput, CommandOutput};
use crate::stop::Stop;

/// The time of an input. The machine has no clock of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Monotonic time.
    pub(crate) at: Instant,
    /// The host's wall clock, in ns since 1970 UTC.
    pub(crate) unix_ns: u64,
}

/// An event that concerns a guest.
#[derive(Debug)]
pub(crate) enum Input {
    /// The driver starts. Always the first input.
    Start,
    /// Bytes of the control port. The driver passes in earlier bytes of the console first.
    Control(Vec<u8>),
    /// The host's end of the control port was closed.
    ControlClosed,
    /// Bytes of the console.
    Console(Vec<u8>),
    /// The console was closed.
    ConsoleClosed,
    /// QMP reported an event.
    Qmp(TimedQmpEvent),
    /// QMP was closed.
    QmpClosed,
    /// The QEMU process has ended.
    Exited(ExitStatus),
    /// The time of [`super::machine::GuestMachine::deadline`] has come. The CPU usage is None if it is unknown.
    Deadline(Option<CpuUsage>),
    /// QMP refused to save the guest ([`Action::Save`]), or the command could not be sent.
    SaveFailed {
        /// Whether QEMU itself refused, so that a further attempt would also fail.
        refused: bool,
        /// The cause.
        why: String,
    },
    /// The user's side has something for the command that runs.
    Command(CommandInput),
    /// The host cannot go on with this guest: what failed.
    HostFailed(HostFault),
    /// The run is to end.
    Stopped(Stop),
    /// Nothing is wanted of this guest any more: why.
    Unneeded(NotNeeded),
    /// What [`Action::End`] asked for is done. Comes last.
    Ended(Box<End>),
}

impl Input {
    /// The name for logs.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Control(_) => "control",
            Self::ControlClosed => "control closed",
            Self::Console(_) => "console",
            Self::ConsoleClosed => "console closed",
            Self::Qmp(_) => "qmp",
            Self::QmpClosed => "qmp closed",
            Self::Exited(_) => "exited",
            Self::Deadline(_) => "deadline",
            Self::SaveFailed { .. } => "save failed",
            Self::Command(_) => "command",
            Self::HostFailed(_) => "host failed",
            Self::Stopped(_) => "stopped",
            Self::Unneeded(_) => "unneeded",
            Self::Ended(_) => "ended",
        }
    }
}

/// An action of the driver.
#[derive(Debug)]
pub(crate) enum Action {
    /// Write these bytes to the control port.
    Send(Vec<u8>),
    /// Let a fork run, now or as soon as it is loaded.
    Wake,
    /// Save the registers, and the memory if the user asked for it; then resume the guest, which QEMU has paused.
    ExamineAndResume,
    /// Let QEMU save the guest's device state.
    Save,
    /// Connect the user's side to the command that has started.
    Attach {
        /// The number of this attempt at the command.
        attempt: u32,
    },
    /// Pass this on to the user's side.
    ToUser(CommandOutput),
    /// The command has ended: disconnect the user's side.
    Detach,
    /// Emit this event.
    Emit(LabEvent),
    /// Report the end of an attempt.
    Report(Box<JobReport>, AttemptEnd),
    /// Kill QEMU, reap it, read the rest of its channels, and answer with [`Input::Ended`].
    End {
        /// Whether the guest was lost, so that the driver checks whether a signal had stopped QEMU.
        lost: bool,
        /// Whether to ask QEMU for the guest's state first.
        ask_state: bool,
        /// Whether to save the registers, and the memory if the user asked for it, unless that was done before.
        examine: bool,
    },
}

/// The remaining evidence after QEMU's end.
#[derive(Debug)]
pub(crate) struct End {
    /// The guest's state as reported by QEMU, or why it did not answer; None if it was not asked.
    pub(crate) state: Option<Result<String, String>>,
    /// The rest of the console.
    pub(crate) console: Vec<u8>,
    /// The unread events of QMP.
    pub(crate) qmp: Vec<TimedQmpEvent>,
    /// How QEMU ended.
    pub(crate) qemu: QemuEnd,
    /// The end of QEMU's standard error, on one line; may be empty.
    pub(crate) stderr: String,
    /// The processors' registers.
    pub(crate) registers: Option<String>,
    /// The guest's memory.
    pub(crate) vmcore: Option<Vmcore>,
    /// Notices about missing parts of the console's file or the memory, one sentence each.
    pub(crate) notices: Vec<String>,
}
