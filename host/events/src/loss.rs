//! What is known of a guest that did not come to its goodbye.

use serde::{Deserialize, Serialize};
use vmlab_console::ConsoleReader;

use crate::job::Job;
use crate::target::TargetId;

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
    /// The limit that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// The kernel told QEMU of a panic, through pvpanic.
    pub panic_told: bool,
    /// QMP's reason for the guest's end, as `guest-reset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<String>,
    /// How the kernel said on the console that it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_word: Option<LastWord>,
    /// How QEMU ended.
    pub qemu: QemuEnd,
    /// The end of what QEMU wrote on standard error, on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub qemu_stderr: String,
    /// The console's last lines; control characters are still in them.
    pub console: Vec<String>,
    /// The processors' registers as QEMU's monitor prints them, taken when the guest panicked or ended, or a limit passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registers: Option<String>,
    /// The guest's memory, where it was to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmcore: Option<Vmcore>,
}

/// A guest's memory in a file, as an ELF core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vmcore {
    /// Where it is.
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
}
