//! What is known of a guest that was lost, each source in a type of its own: why the host gave it up, how far its session
//! had come, what its console, QEMU's monitor and QEMU's end say. [`super::outcome::of`] makes one verdict of them.

use serde::{Deserialize, Serialize};

use super::console::{ConsoleReader, Crash};
use crate::vm::qmp::{QmpEvent, ShutdownReason};

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watchdog {
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
    /// The guest said nothing on any channel, and used no processor time, while a scenario ran.
    Silence,
    /// From the order to leave to the goodbye.
    Goodbye,
    /// From the first sign of the guest's end to the last.
    Farewell,
    /// The whole run.
    Run,
}

impl Watchdog {
    /// In words: `scenario start`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Handshake => "handshake",
            Self::Start => "scenario start",
            Self::Scenario => "scenario",
            Self::Leg => "leg",
            Self::Silence => "silence",
            Self::Goodbye => "goodbye",
            Self::Farewell => "farewell",
            Self::Run => "run",
        }
    }
}

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
    /// It had said goodbye, or what it may not say.
    Over,
}

impl Phase {
    /// In words, to follow what happened.
    #[must_use]
    pub const fn when(self) -> &'static str {
        match self {
            Self::Boot => "before the guest's hello",
            Self::Prepare => "before the guest was ready for work",
            Self::Idle => "while the guest had nothing to do",
            Self::Asked => "before the scenario that was asked for was announced",
            Self::Running => "while the scenario ran",
            Self::Leaving => "before the guest's goodbye",
            Self::Over => "after the guest's last valid word",
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

/// What the kernel says last when it ends in order (kernel/reboot.c and drivers/tty/sysrq.c, the same words from 5.10 to
/// 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastWord {
    /// `reboot: Restarting system`, `sysrq: Resetting`
    Restarting,
    /// `reboot: Power down`, `reboot: Power off not available: System halted instead`
    PowerDown,
    /// `reboot: System halted`
    Halted,
}

impl LastWord {
    /// Of a line of the console.
    #[must_use]
    pub fn of_line(line: &str) -> Option<Self> {
        let line = line.trim();
        // `[    3.141592]` and, with CONFIG_PRINTK_CALLER, `[    T1]` come before it.
        let stamped = line.strip_prefix('[').and_then(|rest| rest.rsplit_once("] ").or_else(|| rest.rsplit_once(']')));
        match stamped.map_or(line, |(_, words)| words) {
            "sysrq: Resetting" => Some(Self::Restarting),
            "reboot: System halted" => Some(Self::Halted),
            line if line.starts_with("reboot: Restarting system") => Some(Self::Restarting),
            line if line.starts_with("reboot: Power down") => Some(Self::PowerDown),
            line if line.starts_with("reboot: Power off not available") => Some(Self::PowerDown),
            _ => None,
        }
    }

    /// Of a console: its last such line.
    #[must_use]
    pub fn of_console(console: &ConsoleReader) -> Option<Self> {
        console.last_lines().rev().find_map(Self::of_line)
    }
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

/// QEMU's own end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QemuEnd {
    /// It lived until vmlab killed it.
    Lived {
        /// It did not run: a signal had stopped it (state `T` in `/proc/PID/stat`, proc(5)).
        stopped: bool,
    },
    /// It exited by itself.
    Exited(i32),
    /// A signal that was not vmlab's killed it.
    Killed(i32),
    /// It cannot be told: why.
    Unknown(String),
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
    fn the_kernels_last_words() {
        for (line, word) in [
            ("[    3.141592] reboot: Restarting system", Some(LastWord::Restarting)),
            ("[    3.141592][    T1] reboot: Restarting system with command 'kexec'", Some(LastWord::Restarting)),
            ("[    3.1] sysrq: Resetting\r", Some(LastWord::Restarting)),
            ("[    3.1] reboot: Power down", Some(LastWord::PowerDown)),
            ("[    3.1] reboot: System halted", Some(LastWord::Halted)),
            // Words of a process about them are none.
            ("[    3.1] app: reboot: System halted", None),
            ("[    3.1] reboot: System halted?", None),
            ("", None),
        ] {
            assert_eq!(LastWord::of_line(line), word, "{line}");
        }
    }

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
