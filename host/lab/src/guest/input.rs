//! What happens to a guest, and what is to be done about it: the two ends of [`super::machine::GuestMachine`].

use std::process::ExitStatus;
use std::time::Instant;

use vmlab_events::event::{JobReport, LabEvent};
use vmlab_events::loss::{QemuEnd, Vmcore};
use vmlab_qemu::cpu_usage::CpuUsage;
use vmlab_qemu::qmp::TimedQmpEvent;

use crate::attempts::AttemptEnd;
use crate::stop::Stop;

/// When something happened. The machine has no clock of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// On a clock that never goes back.
    pub(crate) at: Instant,
    /// The host's wall clock, ns since 1970 UTC.
    pub(crate) unix_ns: u64,
}

/// Something that happened to a guest.
#[derive(Debug)]
pub(crate) enum Input {
    /// The host starts to lead the guest. Comes first.
    Start,
    /// Bytes of the control port. All that the console said before them has been given before.
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
    /// The time that [`super::machine::GuestMachine::deadline`] names has come. None where the host cannot tell how much
    /// processor time QEMU had.
    Deadline(Option<CpuUsage>),
    /// QMP refused to save the guest ([`Action::Save`]), or the command could not be sent.
    SaveFailed {
        /// QEMU itself refused: a further attempt would fail as well.
        refused: bool,
        /// Why.
        why: String,
    },
    /// The host cannot go on with this guest: what failed.
    HostFailed(String),
    /// The run is to end.
    Stopped(Stop),
    /// Nothing is wanted of this guest any more: why.
    Unneeded(&'static str),
    /// What [`Action::End`] asked for is done. Comes last.
    Ended(Box<End>),
}

impl Input {
    /// For logs.
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
            Self::HostFailed(_) => "host failed",
            Self::Stopped(_) => "stopped",
            Self::Unneeded(_) => "unneeded",
            Self::Ended(_) => "ended",
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Write these bytes to the control port.
    Send(Vec<u8>),
    /// Let a fork run, now or as soon as it is loaded.
    Wake,
    /// Take the registers, and the memory where that is wanted; then let the guest, which QEMU has paused, go on.
    ExamineAndResume,
    /// Have QEMU save the guest's device state.
    Save,
    /// Hand this event to the run.
    Emit(LabEvent),
    /// Hand this report on an attempt to the run.
    Report(Box<JobReport>, AttemptEnd),
    /// Kill QEMU, reap it, read what is left, and answer with [`Input::Ended`].
    End {
        /// The guest was lost: look whether a signal had stopped QEMU.
        lost: bool,
        /// Ask QEMU for the guest's state first.
        ask_state: bool,
        /// Take the registers, and the memory where that is wanted, unless that was done before.
        examine: bool,
    },
}

/// What is known of a guest once its QEMU has ended.
#[derive(Debug)]
pub(crate) struct End {
    /// What QEMU said of the guest's state, where it was asked, or why it did not answer.
    pub(crate) state: Option<Result<String, String>>,
    /// The rest of the console.
    pub(crate) console: Vec<u8>,
    /// What QMP had reported and nobody had read yet.
    pub(crate) qmp: Vec<TimedQmpEvent>,
    /// How QEMU ended.
    pub(crate) qemu: QemuEnd,
    /// The end of what QEMU wrote on standard error, on one line; empty where it wrote nothing.
    pub(crate) stderr: String,
    /// The processors' registers.
    pub(crate) registers: Option<String>,
    /// The guest's memory.
    pub(crate) vmcore: Option<Vmcore>,
    /// What could not be kept of the console or the memory, each in a sentence.
    pub(crate) notices: Vec<String>,
}
