//! Faults of the kernel. Most are modules that the host has built for this kernel and put into the image: their init
//! function commits the fault, in the context of the process that loads the module.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use nix::kmod::{ModuleInitFlags, finit_module};

use super::{Fault, unharmed, write};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::{Finding, Trouble};

/// The time limit of a leg that never ends, in ms, at the speed of real hardware.
const SHORT_MS: u64 = 500;
/// The kernel's errno for hardware without an NMI watchdog. Not listed in errno(3).
const ENOTSUPP: i32 = 524;

pub(super) const ALL: &[Fault] = &[
    Fault::new("fault.bug", "A module that calls BUG()", |_| load("bug")),
    Fault::new("fault.divide-error", "A module that divides by zero", |_| load("divide-error")),
    Fault::new("fault.double-fault", "A module that invalidates its stack pointer", |_| load("double-fault")),
    Fault::new("fault.general-protection", "A module that writes to a non-canonical address", |_| {
        load("general-protection")
    }),
    Fault::new("fault.hard-lockup", "A module that spins with interrupts disabled, without a watchdog", hard_lockup)
        .within(SHORT_MS),
    Fault::new("fault.hung-task", "A module that sleeps uninterruptibly", hung_task),
    Fault::new("fault.invalid-opcode", "A module that executes an invalid instruction", |_| load("invalid-opcode")),
    Fault::new("fault.kfence", "A module that reads freed memory", kfence),
    Fault::new("fault.lockdep", "A module that reports a suspicious use of RCU to lockdep", |_| load("lockdep")),
    Fault::new("fault.null-dereference", "A module that writes to address 0", |_| load("null-dereference")),
    Fault::new("fault.oops-in-interrupt", "A module whose RCU callback writes to address 0", |_| {
        load("oops-in-interrupt")?;
        // The callback runs at the end of a grace period, after some ticks.
        std::thread::sleep(std::time::Duration::from_secs(5));
        Ok(unharmed())
    }),
    Fault::new("fault.panic", "A module that calls panic()", |_| load("panic")),
    Fault::new("fault.rcu-stall", "A module whose RCU callback runs for seconds", rcu_stall),
    Fault::new("fault.soft-lockup", "A module that spins with preemption disabled", soft_lockup).within(SHORT_MS),
    Fault::new("fault.stack-overflow", "A module that recurses without end", |_| load("stack-overflow")),
    Fault::new("fault.sysrq-crash", "A crash through sysrq c", |_| {
        write("/proc/sysrq-trigger", "c")?;
        Ok(unharmed())
    }),
    Fault::new("fault.triple-fault", "A module that removes the interrupt table", |_| load("triple-fault")),
    Fault::new("fault.ubsan", "A module that reports an index out of bounds", |_| load("ubsan")),
    Fault::new("fault.warning", "A module that triggers a WARN_ON(), in a scenario that passes", |_| load("warning")),
];

/// Loads one of the host's modules. Returns if the kernel survives.
fn load(name: &str) -> Result<Finding, Trouble> {
    let path = PathBuf::from(format!("/faults/{name}.ko"));
    let file = File::open(&path).during(format_args!("opening the module {}", path.display()))?;
    finit_module(&file, c"", ModuleInitFlags::empty())
        .during(format_args!("the kernel refused the module {}: finit_module(2)", path.display()))?;
    Ok(unharmed())
}

fn hard_lockup(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // The NMI watchdog would end the lockup. An emulated CPU lacks the hardware that the watchdog needs: the write then
    // fails with ENOTSUPP before Linux 6.5, and because the file is read-only on later kernels (kernel/watchdog.c).
    match fs::write("/proc/sys/kernel/nmi_watchdog", "0") {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(ENOTSUPP) || error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error).during("turning the NMI watchdog off"),
    }
    load("hard-lockup")
}

fn hung_task(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    write("/proc/sys/kernel/hung_task_timeout_secs", "1")?;
    load("hung-task")
}

fn kfence(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // In ms. Distribution kernels have KFENCE built in and disabled (Documentation/dev-tools/kfence.rst).
    write("/sys/module/kfence/parameters/sample_interval", "1")?;
    load("kfence")
}

fn rcu_stall(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // In seconds; 3 is the minimum (kernel/rcu/tree_stall.h).
    write("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "3")?;
    // A running grace period keeps its old timeout; it takes some ticks to end.
    std::thread::sleep(std::time::Duration::from_secs(1));
    load("rcu-stall")?;
    // The callbacks run at the end of grace periods, after some ticks, and take nine seconds.
    std::thread::sleep(std::time::Duration::from_secs(11));
    Ok(unharmed())
}

fn soft_lockup(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // The kernel reports a soft lockup after twice the threshold, which is in seconds
    // (Documentation/admin-guide/lockup-watchdogs.rst).
    write("/proc/sys/kernel/watchdog_thresh", "1")?;
    load("soft-lockup")
}
