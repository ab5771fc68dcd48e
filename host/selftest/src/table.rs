//! The faults and what is expected of each. This table is the only place that says so.

use super::expect::Expected;
use super::injection::Injection;
use vmlab_events::exit;

/// How a fault is triggered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The guest's fault of this name.
    Guest,
    /// The guest's fault of this name, with a module that is made for the guest's kernel.
    Module,
    /// All of the guest's faults whose names begin with this one, in one run.
    GuestAll,
    /// These words on the kernel's command line; the guest has no fault of this name.
    Boot(&'static str),
    /// The host injects the fault while the guest's fault of this name waits.
    Host(Injection),
    /// The disk of the run's record is full; the guest has no fault of this name.
    RecordFull,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The fault's name; the guest's fault is `fault.NAME`.
    pub name: &'static str,
    /// How the fault is triggered.
    pub trigger: Trigger,
    /// What is expected of it.
    pub expected: Expected,
}

impl Row {
    /// Whether a fault of the guest belongs to this row.
    pub(crate) fn has_fault(&self, fault: &str) -> bool {
        match self.trigger {
            Trigger::Guest | Trigger::Module | Trigger::Host(_) => fault == format!("fault.{}", self.name),
            Trigger::GuestAll => fault.starts_with(&format!("fault.{}-", self.name)),
            Trigger::Boot(_) | Trigger::RecordFull => false,
        }
    }
}

/// The rows whose names contain at least one of the filters; all rows if there is no filter.
///
/// # Errors
/// The first filter that no name contains.
pub fn select(filters: &[String]) -> Result<Vec<&'static Row>, &str> {
    let matches = |row: &Row, filter: &String| row.name.contains(filter);
    if let Some(unknown) = filters.iter().find(|filter| !ROWS.iter().any(|row| matches(row, filter))) {
        return Err(unknown);
    }
    let is_picked = |row: &&Row| filters.is_empty() || filters.iter().any(|filter| matches(row, filter));
    Ok(ROWS.iter().filter(is_picked).collect())
}

const fn row(name: &'static str, trigger: Trigger, expected: Expected) -> Row {
    Row { name, trigger, expected }
}

const fn to(label: &'static str, exit: u8, texts: &'static [&'static str]) -> Expected {
    Expected { label, exit, texts, witness: Some("PASS"), dropped_bytes: 0 }
}

const fn crash(texts: &'static [&'static str]) -> Expected {
    to("CRASH", exit::CRASHED, texts)
}

const fn fail(texts: &'static [&'static str]) -> Expected {
    to("FAIL", exit::FAILED, texts)
}

const fn garbled(texts: &'static [&'static str]) -> Expected {
    to("GARBLED", exit::LAB, texts)
}

const fn vanished(texts: &'static [&'static str]) -> Expected {
    to("VANISHED", exit::LAB, texts)
}

const fn timeout(texts: &'static [&'static str]) -> Expected {
    to("TIMEOUT", exit::TIMED_OUT, texts)
}

const fn pass() -> Expected {
    to("PASS", exit::OK, &[])
}

/// No guest boots, so the witness has the same verdict as the fault.
const fn boot(label: &'static str, exit: u8, texts: &'static [&'static str]) -> Expected {
    Expected { label, exit, texts, witness: Some(label), dropped_bytes: 0 }
}

/// A lower limit, in bytes, of what an output limit of some MiB leaves out of 1 GiB.
const FLOOD_DROPPED_BYTES: u64 = 1000 << 20;

use Trigger::{Boot, Guest, GuestAll, Host, Module, RecordFull};

/// All rows, in the order in which they run.
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
    row("hard-lockup", Module, timeout(&["--scenario-timeout"])),
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
    // The agent's messages.
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
    row("stalls", Guest, timeout(&["--silence-timeout", "the link was cut"])),
    // The scenario's process.
    row("signal", GuestAll, fail(&["killed by SIG{NAME}"])),
    row("stops", Guest, timeout(&[])),
    row("exits-silently", Guest, fail(&["without a result"])),
    row("daemon", Guest, fail(&["without a result"])),
    row("closes-all", Guest, fail(&["exited with 1"])),
    row("floods", Guest, Expected { dropped_bytes: FLOOD_DROPPED_BYTES, ..pass() }),
    row("escapes", Guest, pass()),
    row("hushes", Guest, fail(&["the console log level was lowered to 1"])),
    row("forges", Guest, fail(&["this scenario fails"])),
    // The guest's power and clock.
    row("reboots", Guest, vanished(&["guest-reset"])),
    row("powers-off", Guest, vanished(&["guest-shutdown"])),
    row("halts", Guest, vanished(&["the guest halted"])),
    row("clock-stepped", Guest, pass()),
    // QEMU.
    row("qemu-killed", Host(Injection::KillQemu), vanished(&["signal 9"])),
    row("qemu-aborted", Host(Injection::AbortQemu), vanished(&["signal 6"])),
    row("qemu-stopped", Host(Injection::StopQemu), vanished(&["a signal had stopped it"])),
    row("qmp-closed", Host(Injection::CloseQmp), pass()),
    // The boot. A kernel that does not unpack its initramfs behaves like a kernel without CONFIG_BLK_DEV_INITRD.
    row(
        "no-initrd",
        Boot("initcall_blacklist=populate_rootfs"),
        boot("CRASH", exit::CRASHED, &["Unable to mount root fs"]),
    ),
    row(
        "no-virtio",
        Boot("initcall_blacklist=virtio_console_init module_blacklist=virtio_console vmlab.port_timeout_ms=1000"),
        boot("NO-BOOT", exit::LAB, &["the guest has no control port"]),
    ),
    // The host, and vmlab itself.
    row("record-disk-full", RecordFull, to("PASS", exit::LAB, &[])),
    row("host-clock-stepped", Host(Injection::StepClock), pass()),
    // Exit code and label are those of `vmlab report` on the record of the killed run.
    row(
        "vmlab-killed",
        Host(Injection::KillVmlab),
        Expected { label: "NOT-RUN", exit: exit::OK, texts: &[], witness: None, dropped_bytes: 0 },
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
        for fault in &faults {
            assert_eq!(ROWS.iter().filter(|row| row.has_fault(fault)).count(), 1, "{fault}");
        }
        for row in ROWS.iter().filter(|row| !matches!(row.trigger, Boot(_) | RecordFull)) {
            assert!(faults.iter().any(|fault| row.has_fault(fault)), "{}", row.name);
        }
        for recipe in code::ALL {
            assert!(ROWS.iter().any(|row| row.name == recipe.name && row.trigger == Module), "{}", recipe.name);
        }
    }

    #[test]
    fn a_filter_that_matches_no_fault_is_an_error() {
        let filters = |filters: &[&str]| filters.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(select(&[]).unwrap().len(), ROWS.len());
        let names = |rows: Vec<&Row>| rows.iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(select(&filters(&["bug", "kfence"])).unwrap()), ["bug", "kfence"]);
        assert_eq!(select(&filters(&["bug", "no-such-fault"])), Err("no-such-fault"));
    }
}
