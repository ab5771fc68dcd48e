//! What is known of a guest that was lost, each source in a type of its own: why the host gave it up, how far its session
//! had come, what its console, QEMU's monitor and QEMU's end say. [`super::outcome::of`] makes one verdict of them.

use vmlab_console::{ConsoleReader, Crash};
use vmlab_events::loss::{LastWord, Phase, QemuEnd, Watchdog};
use vmlab_qemu::qmp::{QmpEvent, ShutdownReason};

/// Why the host gave a guest up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestLoss {
    /// Nothing more is to be expected of it: QEMU has ended, or has paused it for good.
    Ended,
    /// The watchdog named killed it.
    Watchdog {
        /// Which.
        which: Watchdog,
        /// Its limit, in ms.
        limit_ms: u64,
        /// By how much it was stretched since QEMU was kept waiting for a processor, in ms.
        stretched_ms: u64,
    },
    /// It said what it may not say.
    Violation(String),
    /// What it had written to its kernel's log did not come out on the console, so that more may be missing there.
    Unheard,
    /// Its kernel broke, and went on.
    Broken,
    /// The host cannot go on with it: what failed.
    Host(String),
    /// It is another machine than was asked for.
    WrongMachine(String),
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

    /// The limit that ended it, where one did.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Watchdog> {
        match self {
            Self::Watchdog { which, .. } => Some(*which),
            Self::RunLimit { .. } => Some(Watchdog::Run),
            _ => None,
        }
    }
}

/// The link's side of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The guest had said hello, or had become a fork of its own.
    pub booted: bool,
    /// Where the session was.
    pub phase: Phase,
    /// The port was closed within a frame: how.
    pub cut: Option<String>,
    /// The port was closed at the host's end.
    pub closed: bool,
}

/// The console's side of it.
#[derive(Debug, Clone, Copy)]
pub struct Console<'a> {
    /// The first crash.
    pub crash: Option<&'a Crash>,
    /// How the kernel said that it ends.
    pub last_word: Option<LastWord>,
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
            last_word: LastWord::of_console(reader),
            said_by_init: reader.said_by_init(),
            last_line: reader.last_lines().map(str::trim).rfind(|line| !line.is_empty()),
        }
    }
}

/// The monitor's side of it: what QMP told of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Monitor {
    /// `GUEST_PANICKED`: the kernel has told QEMU of a panic.
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
    /// A command of vmlab's that QEMU refused, and why.
    pub refused: Option<String>,
    /// What QEMU said of the guest's state when a limit had passed, or why it did not.
    pub state: Option<Result<String, String>>,
}

impl Monitor {
    /// Takes in what was told.
    pub fn told(&mut self, event: &QmpEvent) {
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
                self.refused.get_or_insert_with(|| format!("{command}: {error}"));
            }
            QmpEvent::Reply { error: None, .. } => self.answered = true,
            QmpEvent::Greeting | QmpEvent::Migration { .. } | QmpEvent::Other(_) => {}
        }
    }

    /// Whether QEMU tells of what no guest outlives, whatever is heard of it afterwards.
    #[must_use]
    pub fn belies_the_guest(&self) -> bool {
        let ended = matches!(self.shutdown, Some(ShutdownReason::GuestReset | ShutdownReason::GuestPanic));
        self.panicked || ended || self.reset.is_some() || self.watchdog.is_some()
    }

    /// Whether QEMU knows of a panic, by the event or by the reason for its end.
    #[must_use]
    pub fn knows_of_panic(&self) -> bool {
        self.panicked || self.shutdown == Some(ShutdownReason::GuestPanic)
    }
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
    /// What QMP told.
    pub monitor: &'a Monitor,
    /// How QEMU ended.
    pub qemu: &'a QemuEnd,
    /// The end of what QEMU wrote on standard error, on one line; empty where it wrote nothing.
    pub stderr: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitors_first_word_counts_and_a_pause_may_end() {
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
            monitor.told(&event);
        }
        assert!(monitor.panicked && !monitor.paused && monitor.knows_of_panic() && monitor.belies_the_guest());
        assert_eq!(monitor.shutdown, Some(ShutdownReason::GuestReset));
        assert_eq!(monitor.refused.as_deref(), Some("getfd: no"));
        let by_reason = Monitor { shutdown: Some(ShutdownReason::GuestPanic), ..Monitor::default() };
        assert!(by_reason.knows_of_panic());
    }
}
