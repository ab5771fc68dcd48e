//! The faults and what each is to come to: the one place where that is written down.

use super::expect::Expected;
use super::sabotage::Sabotage;
use vmlab_events::exit;

/// How a fault comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The guest does it itself.
    Guest,
    /// The guest does it, with a module that was made for its kernel.
    Module,
    /// All of the guest's faults whose names begin so, in one run.
    GuestAll,
    /// By these words on the kernel's command line; the guest itself does nothing.
    Boot(&'static str),
    /// The host does it while the guest waits.
    Host(Sabotage),
    /// The host's disk for the run's record is full; the guest itself does nothing.
    RecordFull,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name; that of the guest's part has `fault.` before it.
    pub name: &'static str,
    /// How it comes about.
    pub how: How,
    /// What it is to come to.
    pub expected: Expected,
}

const fn row(name: &'static str, how: How, expected: Expected) -> Row {
    Row { name, how, expected }
}

const fn to(word: &'static str, exit: u8, words: &'static [&'static str]) -> Expected {
    Expected { word, exit, words, witness: Some("PASS"), dropped: 0 }
}

/// The kernel broke, by these words.
const fn crash(words: &'static [&'static str]) -> Expected {
    to("CRASH", exit::CRASHED, words)
}

const fn fail(words: &'static [&'static str]) -> Expected {
    to("FAIL", exit::FAILED, words)
}

const fn garbled(words: &'static [&'static str]) -> Expected {
    to("GARBLED", exit::LAB, words)
}

const fn vanished(words: &'static [&'static str]) -> Expected {
    to("VANISHED", exit::LAB, words)
}

const fn timeout(words: &'static [&'static str]) -> Expected {
    to("TIMEOUT", exit::TIMED_OUT, words)
}

const fn pass() -> Expected {
    to("PASS", exit::OK, &[])
}

/// No guest comes up: what is true of the fault is true of the witness.
const fn boot(word: &'static str, exit: u8, words: &'static [&'static str]) -> Expected {
    Expected { word, exit, words, witness: Some(word), dropped: 0 }
}

/// What an output limit of some MiB leaves out of 1 GiB, at least.
const FLOOD_DROPPED: u64 = 1000 << 20;

use How::{Boot, Guest, GuestAll, Host, Module, RecordFull};

/// All rows, in the order in which they are done.
pub const ROWS: &[Row] = &[
    // The kernel.
    row("panic", Module, crash(&["Kernel panic", "the fault suite asked for this"])),
    row("sysrq-crash", Guest, crash(&["sysrq triggered crash"])),
    row("null-dereference", Module, crash(&["NULL pointer dereference"])),
    row("oops-in-interrupt", Module, crash(&["NULL pointer dereference", "Fatal exception in interrupt"])),
    row("bug", Module, crash(&["kernel BUG at", "fault.c:1"])),
    row("warning", Module, fail(&["the kernel warned", "WARNING", "fault.c:1"])),
    row("general-protection", Module, crash(&["general protection fault", "non-canonical"])),
    row("invalid-opcode", Module, crash(&["invalid opcode"])),
    row("divide-error", Module, crash(&["divide error"])),
    row("stack-overflow", Module, crash(&["stack guard page was hit"])),
    row("double-fault", Module, crash(&["double fault"])),
    row("triple-fault", Module, vanished(&["guest-reset"])),
    row("soft-lockup", Module, crash(&["soft lockup"])),
    row("hard-lockup", Module, timeout(&["scenario limit"])),
    row("hung-task", Module, fail(&["the kernel warned", "blocked for more than"])),
    row("rcu-stall", Module, fail(&["the kernel warned", "detected stall"])),
    row("kfence", Module, crash(&["KFENCE", "use-after-free read"])),
    row("lockdep", Module, fail(&["the kernel warned", "suspicious RCU usage"])),
    row("ubsan", Module, fail(&["the kernel warned", "UBSAN", "out-of-bounds"])),
    // PID 1 and the agent.
    row("pid1-exits", Guest, crash(&["Attempted to kill init", "exitcode=0x00000700"])),
    row("pid1-crashes", Guest, crash(&["Attempted to kill init", "exitcode=0x0000000b"])),
    row("pid1-signalled", Guest, pass()),
    row("agent-killed", Guest, vanished(&["the agent ended before its goodbye", "SIGKILL"])),
    row("agent-oom", Guest, vanished(&["the agent ended before its goodbye", "SIGKILL"])),
    row("agent-exits", Guest, vanished(&["QEMU shut down"])),
    // The agent's words.
    row("goodbye-twice", Guest, garbled(&[])),
    row("result-twice", Guest, garbled(&[])),
    row("result-unasked", Guest, garbled(&[])),
    row("leg-twice", Guest, garbled(&[])),
    row("no-subject", Guest, garbled(&[])),
    row("message-lost", Guest, garbled(&[])),
    row("no-message", Guest, garbled(&[])),
    // The port.
    row("garbage", Guest, garbled(&["the link is damaged"])),
    row("bit-flip", Guest, garbled(&["the link is damaged"])),
    row("truncates", Guest, vanished(&["the link was cut"])),
    row("stalls", Guest, timeout(&["silence limit", "the link was cut"])),
    // The scenario's process.
    row("signal", GuestAll, fail(&["killed by SIG{NAME}"])),
    row("stops", Guest, timeout(&[])),
    row("exits-silently", Guest, fail(&["without a result"])),
    row("daemon", Guest, fail(&["without a result"])),
    row("closes-all", Guest, fail(&["exited with 1"])),
    row("floods", Guest, Expected { dropped: FLOOD_DROPPED, ..pass() }),
    row("escapes", Guest, pass()),
    row("hushes", Guest, fail(&["the console log level was lowered to 1"])),
    row("forges", Guest, fail(&["this scenario fails"])),
    // The guest's power and clock.
    row("reboots", Guest, vanished(&["guest-reset"])),
    row("powers-off", Guest, vanished(&["guest-shutdown"])),
    row("halts", Guest, vanished(&["the guest halted"])),
    row("clock-stepped", Guest, pass()),
    // QEMU.
    row("qemu-killed", Host(Sabotage::KillQemu), vanished(&["signal 9"])),
    row("qemu-aborted", Host(Sabotage::AbortQemu), vanished(&["signal 6"])),
    row("qemu-stopped", Host(Sabotage::StopQemu), vanished(&["a signal had stopped it"])),
    row("qmp-closed", Host(Sabotage::CloseQmp), pass()),
    // The boot. A kernel that does not unpack its initramfs is as one that was built without.
    row(
        "no-initrd",
        Boot("initcall_blacklist=populate_rootfs"),
        boot("CRASH", exit::CRASHED, &["Unable to mount root fs"]),
    ),
    row(
        "no-virtio",
        Boot("initcall_blacklist=virtio_console_init module_blacklist=virtio_console vmlab.port_timeout_ms=1000"),
        boot("NO-BOOT", exit::LAB, &["no virtio-serial port"]),
    ),
    // The host, and vmlab itself.
    row("record-disk-full", RecordFull, to("PASS", exit::LAB, &[])),
    row("host-clock-stepped", Host(Sabotage::StepClock), pass()),
    // The record is rendered, which is what the exit code tells; all that was announced is told as not run.
    row(
        "vmlab-killed",
        Host(Sabotage::KillVmlab),
        Expected { word: "NOT-RUN", exit: exit::OK, words: &[], witness: None, dropped: 0 },
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::code;
    use vmlab_image::guest_init;

    #[test]
    fn every_fault_of_the_guest_has_a_row_and_every_row_its_fault() {
        let faults: Vec<_> = guest_init::faults().unwrap().iter().map(|spec| spec.id.as_str()).collect();
        let is_of = |row: &Row, fault: &str| match row.how {
            How::Guest | How::Module | How::Host(_) => fault == format!("fault.{}", row.name),
            How::GuestAll => fault.starts_with(&format!("fault.{}-", row.name)),
            How::Boot(_) | How::RecordFull => false,
        };
        for fault in &faults {
            assert_eq!(ROWS.iter().filter(|row| is_of(row, fault)).count(), 1, "{fault}");
        }
        for row in ROWS.iter().filter(|row| !matches!(row.how, How::Boot(_) | How::RecordFull)) {
            assert!(faults.iter().any(|fault| is_of(row, fault)), "{}", row.name);
        }
        for recipe in code::ALL {
            assert!(ROWS.iter().any(|row| row.name == recipe.name && row.how == How::Module), "{}", recipe.name);
        }
    }
}
