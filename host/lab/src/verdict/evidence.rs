//! What is known of a guest that was lost, each source in a type of its own: why the host gave it up, how far its session
//! had come, what its console, QEMU's monitor and QEMU's end say. [`super::outcome::of`] makes one verdict of them.

use vmlab_console::{ConsoleReader, Crash};
use vmlab_events::loss::{Deadline, Phase, QemuEnd, ShutdownLine};
use vmlab_events::verdict::{GuestState, HostFault, LossEvidence, Mismatch, PassedDeadline, RefusedCommand, Violation};
use vmlab_protocol::frame::Truncated;
use vmlab_qemu::qmp::{QmpEvent, ShutdownReason};

/// Why the host gave a guest up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestLoss {
    /// Nothing more is to be expected of it: QEMU has ended, or has paused it for good.
    Ended,
    /// A deadline passed.
    Deadline {
        /// Which.
        which: Deadline,
        /// Its length, in ms.
        limit_ms: u64,
        /// By how much it was stretched because QEMU was kept waiting for a CPU, in ms.
        stretched_ms: u64,
    },
    /// It broke the protocol.
    Violation(Violation),
    /// A marker that it had its kernel print did not come out on the console, so that more may be missing there.
    ConsoleCut,
    /// Its kernel broke, and went on.
    Broken,
    /// The host cannot go on with it.
    Host(HostFault),
    /// It is another machine than was asked for.
    WrongMachine(Mismatch),
    /// The user interrupted the run.
    Interrupted,
    /// The limit of the whole run has passed.
    RunLimit {
        /// The limit, in ms.
        limit_ms: u64,
    },
}

impl GuestLoss {
    /// Whether the run ended, and not the guest: that says nothing about what the guest had done before.
    #[must_use]
    pub const fn is_the_runs(&self) -> bool {
        matches!(self, Self::Interrupted | Self::RunLimit { .. })
    }

    /// The deadline that ended it, where one did.
    #[must_use]
    pub const fn deadline(&self) -> Option<Deadline> {
        match self {
            Self::Deadline { which, .. } => Some(*which),
            Self::RunLimit { .. } => Some(Deadline::Run),
            _ => None,
        }
    }
}

impl From<Violation> for GuestLoss {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// What the link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The guest had said hello, or had become a fork of its own.
    pub booted: bool,
    /// Where the session was.
    pub phase: Phase,
    /// The link ended within this frame.
    pub cut: Option<Truncated>,
    /// The port was closed at the host's end.
    pub closed: bool,
}

/// What the console says.
#[derive(Debug, Clone, Copy)]
pub struct Console<'a> {
    /// The first crash.
    pub crash: Option<&'a Crash>,
    /// The KUnit suite that ran at the end.
    pub suite: Option<&'a str>,
    /// How the kernel said that it ends.
    pub shutdown_line: Option<ShutdownLine>,
    /// What PID 1 said because it could not say it on the link.
    pub said_by_init: &'a [String],
    /// Its last line that is not empty.
    pub last_line: Option<&'a str>,
}

impl<'a> Console<'a> {
    /// Of a console that was read to its end.
    #[must_use]
    pub fn of(reader: &'a ConsoleReader) -> Self {
        Self {
            crash: reader.crash(),
            suite: reader.running_suite(),
            shutdown_line: ShutdownLine::of_console(reader),
            said_by_init: reader.said_by_init(),
            last_line: reader.last_lines().map(str::trim).rfind(|line| !line.is_empty()),
        }
    }
}

/// What QEMU's monitor says of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Monitor {
    /// `GUEST_PANICKED`: the kernel has reported a panic to QEMU.
    pub panicked: bool,
    /// The first SHUTDOWN's reason.
    pub shutdown: Option<ShutdownReason>,
    /// The first RESET's reason.
    pub reset: Option<ShutdownReason>,
    /// WATCHDOG: what QEMU did as a watchdog device of the guest's ran out.
    pub watchdog: Option<String>,
    /// STOP came last: the guest is paused.
    pub paused: bool,
    /// The socket was closed while QEMU lived on.
    pub closed: bool,
    /// QEMU has carried out a command: it had come up.
    pub answered: bool,
    /// The first command of vmlab's that QEMU refused.
    pub refused: Option<RefusedCommand>,
    /// What QEMU said of the guest's state when a deadline had passed, or why it did not.
    pub state: Option<Result<String, String>>,
}

impl Monitor {
    /// Takes in an event.
    pub fn observe(&mut self, event: &QmpEvent) {
        match event {
            QmpEvent::Shutdown(reason) => {
                self.shutdown.get_or_insert_with(|| reason.clone());
            }
            QmpEvent::Reset(reason) => {
                self.reset.get_or_insert_with(|| reason.clone());
            }
            QmpEvent::GuestPanicked => self.panicked = true,
            QmpEvent::Watchdog { action } => {
                self.watchdog.get_or_insert_with(|| action.clone());
            }
            QmpEvent::Stopped => self.paused = true,
            QmpEvent::Resumed => self.paused = false,
            QmpEvent::Reply { command, error: Some(error) } => {
                self.refused.get_or_insert_with(|| refused(command, error));
            }
            QmpEvent::Reply { error: None, .. } => self.answered = true,
            QmpEvent::Greeting | QmpEvent::Migration { .. } | QmpEvent::Other(_) => {}
        }
    }

    /// Whether QEMU reports what no guest survives, whatever the guest sends afterwards.
    #[must_use]
    pub fn contradicts_guest(&self) -> bool {
        let ended = matches!(self.shutdown, Some(ShutdownReason::GuestReset | ShutdownReason::GuestPanic));
        self.panicked || ended || self.reset.is_some() || self.watchdog.is_some()
    }

    /// Whether QEMU knows of a panic, by the event or by the reason for its end.
    #[must_use]
    pub fn knows_of_panic(&self) -> bool {
        self.panicked || self.shutdown == Some(ShutdownReason::GuestPanic)
    }

    /// A deadline that passed, with QEMU's answer to what the guest did then.
    fn passed(&self, deadline: Deadline, limit_ms: u64, stretched_ms: u64) -> PassedDeadline {
        let guest_state = self.state.clone().map(|state| state.map_or_else(GuestState::Unknown, GuestState::Known));
        PassedDeadline { deadline, limit_ms, stretched_ms, guest_state }
    }
}

/// A command that QEMU refused.
#[must_use]
pub fn refused(command: &str, error: &str) -> RefusedCommand {
    RefusedCommand { command: command.to_owned(), error: error.to_owned() }
}

/// All evidence on a guest that was lost.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Why the host gave it up.
    pub loss: &'a GuestLoss,
    /// How far it had come.
    pub link: &'a Link,
    /// Its console, read to the end.
    pub console: Console<'a>,
    /// What QMP said.
    pub monitor: &'a Monitor,
    /// How QEMU ended.
    pub qemu: &'a QemuEnd,
    /// The end of what QEMU wrote on standard error, on one line; empty where it wrote nothing.
    pub stderr: &'a str,
}

impl Evidence<'_> {
    /// What is known besides the cause, as a verdict carries it.
    pub(super) fn for_verdict(&self) -> Box<LossEvidence> {
        let Self { link, console, monitor, .. } = self;
        Box::new(LossEvidence {
            phase: link.phase,
            qemu: self.qemu.clone(),
            shutdown: monitor.shutdown.clone(),
            reset: monitor.reset.clone(),
            shutdown_line: console.shutdown_line,
            watchdog_device: monitor.watchdog.clone(),
            refused: monitor.refused.clone(),
            cut_frame: link.cut,
            port_closed: link.closed,
            qmp_closed: monitor.closed,
            qemu_stderr: self.stderr.to_owned(),
            init_messages: console.said_by_init.to_vec(),
            lacking: None,
        })
    }

    /// The deadline that passed, where one did.
    pub(super) fn passed_deadline(&self) -> Option<PassedDeadline> {
        match *self.loss {
            GuestLoss::Deadline { which, limit_ms, stretched_ms } => {
                Some(self.monitor.passed(which, limit_ms, stretched_ms))
            }
            GuestLoss::RunLimit { limit_ms } => {
                Some(PassedDeadline { deadline: Deadline::Run, limit_ms, stretched_ms: 0, guest_state: None })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitors_first_reason_counts_and_a_pause_may_end() {
        let mut monitor = Monitor::default();
        for event in [
            QmpEvent::GuestPanicked,
            QmpEvent::Stopped,
            QmpEvent::Resumed,
            QmpEvent::Shutdown(ShutdownReason::GuestReset),
            QmpEvent::Shutdown(ShutdownReason::HostSignal),
            QmpEvent::Reply { command: "getfd".to_owned(), error: Some("no".to_owned()) },
            QmpEvent::Reply { command: "cont".to_owned(), error: None },
        ] {
            monitor.observe(&event);
        }
        assert!(monitor.panicked && !monitor.paused && monitor.knows_of_panic() && monitor.contradicts_guest());
        assert_eq!(monitor.shutdown, Some(ShutdownReason::GuestReset));
        assert_eq!(monitor.refused, Some(refused("getfd", "no")));
        let by_reason = Monitor { shutdown: Some(ShutdownReason::GuestPanic), ..Monitor::default() };
        assert!(by_reason.knows_of_panic());
    }
}
