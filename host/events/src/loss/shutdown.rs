//! How a guest says that it ends: QEMU's reason, and the kernel's last line.

use serde::{Deserialize, Serialize};
use vmlab_console::ConsoleReader;

/// Why a guest ends or is reset (qapi/run-state.json of QEMU 7.2, `ShutdownCause`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ShutdownReason {
    /// `guest-shutdown`: the guest switched its machine off.
    GuestShutdown,
    /// `guest-reset`: the guest asked for a reset, or its CPU had a triple fault.
    GuestReset,
    /// `guest-panic`: the guest reported a panic, and QEMU ends for it.
    GuestPanic,
    /// `host-signal`: a signal told QEMU to end.
    HostSignal,
    /// `host-qmp-quit`, `host-qmp-system-reset`, `host-ui`: a command on QEMU's monitor, or its window.
    HostMonitor(String),
    /// `host-error`: QEMU met an error that it cannot go on with.
    HostError,
    /// Any other reason.
    Other(String),
}

impl ShutdownReason {
    /// From QEMU's name for it.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "guest-shutdown" => Self::GuestShutdown,
            "guest-reset" => Self::GuestReset,
            "guest-panic" => Self::GuestPanic,
            "host-signal" => Self::HostSignal,
            "host-error" => Self::HostError,
            "host-qmp-quit" | "host-qmp-system-reset" | "host-ui" => Self::HostMonitor(name.to_owned()),
            other => Self::Other(other.to_owned()),
        }
    }

    /// QEMU's name for it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::GuestShutdown => "guest-shutdown",
            Self::GuestReset => "guest-reset",
            Self::GuestPanic => "guest-panic",
            Self::HostSignal => "host-signal",
            Self::HostError => "host-error",
            Self::HostMonitor(name) | Self::Other(name) => name,
        }
    }

    /// Whether something on the host ended QEMU, and not the guest.
    #[must_use]
    pub const fn is_by_host(&self) -> bool {
        matches!(self, Self::HostSignal | Self::HostMonitor(_) | Self::HostError)
    }
}

impl From<String> for ShutdownReason {
    fn from(name: String) -> Self {
        Self::from_name(&name)
    }
}

impl From<ShutdownReason> for String {
    fn from(reason: ShutdownReason) -> Self {
        reason.name().to_owned()
    }
}

/// The kernel's last line when it ends in order (kernel/reboot.c and drivers/tty/sysrq.c, the same text from 5.10 to
/// 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownLine {
    /// `reboot: Restarting system`, `sysrq: Resetting`
    Restarting,
    /// `reboot: Power down`, `reboot: Power off not available: System halted instead`
    PowerDown,
    /// `reboot: System halted`
    Halted,
}

impl ShutdownLine {
    /// Reads a line of the console; none where the line is another one.
    #[must_use]
    pub fn of_line(line: &str) -> Option<Self> {
        let line = line.trim();
        // `[    3.141592]` and, with CONFIG_PRINTK_CALLER, `[    T1]` come before it.
        let stamped = line.strip_prefix('[').and_then(|rest| rest.rsplit_once("] ").or_else(|| rest.rsplit_once(']')));
        match stamped.map_or(line, |(_, text)| text) {
            "sysrq: Resetting" => Some(Self::Restarting),
            "reboot: System halted" => Some(Self::Halted),
            line if line.starts_with("reboot: Restarting system") => Some(Self::Restarting),
            line if line.starts_with("reboot: Power down") => Some(Self::PowerDown),
            line if line.starts_with("reboot: Power off not available") => Some(Self::PowerDown),
            _ => None,
        }
    }

    /// The last such line of a console.
    #[must_use]
    pub fn of_console(console: &ConsoleReader) -> Option<Self> {
        console.last_lines().rev().find_map(Self::of_line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_keeps_its_name() {
        let names = ["guest-shutdown", "guest-reset", "guest-panic", "host-signal", "host-error", "host-qmp-quit"];
        for name in names.into_iter().chain(["host-qmp-system-reset", "host-ui", "snapshot-load"]) {
            let reason = ShutdownReason::from_name(name);
            assert_eq!(reason.name(), name);
            assert_eq!(reason.is_by_host(), name.starts_with("host-"), "{name}");
            assert_eq!(serde_json::to_value(&reason).unwrap(), name);
            assert_eq!(serde_json::from_value::<ShutdownReason>(name.into()).unwrap(), reason);
        }
    }

    #[test]
    fn the_kernels_shutdown_lines() {
        for (line, found) in [
            ("[    3.141592] reboot: Restarting system", Some(ShutdownLine::Restarting)),
            ("[    3.141592][    T1] reboot: Restarting system with command 'kexec'", Some(ShutdownLine::Restarting)),
            ("[    3.1] sysrq: Resetting\r", Some(ShutdownLine::Restarting)),
            ("[    3.1] reboot: Power down", Some(ShutdownLine::PowerDown)),
            ("[    3.1] reboot: System halted", Some(ShutdownLine::Halted)),
            // The same text from a process is not the kernel's.
            ("[    3.1] app: reboot: System halted", None),
            ("[    3.1] reboot: System halted?", None),
            ("", None),
        ] {
            assert_eq!(ShutdownLine::of_line(line), found, "{line}");
        }
    }
}
