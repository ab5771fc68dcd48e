//! Faults of the kernel. Most are modules that the host has made for this very kernel and put into the image: their init
//! function does the harm, in the context of the process that loads them.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use nix::kmod::{ModuleInitFlags, finit_module};

use super::{Fault, unharmed, write};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::{Finding, Trouble};

/// How long a leg may hang that will never end, in ms, at the speed of real hardware.
const SHORT_MS: u64 = 500;
/// What the kernel answers where the hardware has no such watchdog; not one of errno(3).
const ENOTSUPP: i32 = 524;

pub(super) const ALL: &[Fault] = &[
    Fault::new("fault.bug", "A module that meets a BUG()", |_| load("bug")),
    Fault::new("fault.divide-error", "A module that divides by zero", |_| load("divide-error")),
    Fault::new("fault.double-fault", "A module that loses its stack", |_| load("double-fault")),
    Fault::new("fault.general-protection", "A module that writes to a non-canonical address", |_| {
        load("general-protection")
    }),
    Fault::new("fault.hard-lockup", "A module that spins with interrupts off, and no watchdog", hard_lockup)
        .within(SHORT_MS),
    Fault::new("fault.hung-task", "A module that sleeps uninterruptibly", hung_task),
    Fault::new("fault.invalid-opcode", "A module that executes what is no instruction", |_| load("invalid-opcode")),
    Fault::new("fault.kfence", "A module that reads memory which it has freed", kfence),
    Fault::new("fault.lockdep", "A module that tells the lock validator of a use of RCU without its lock", |_| {
        load("lockdep")
    }),
    Fault::new("fault.null-dereference", "A module that writes to address 0", |_| load("null-dereference")),
    Fault::new("fault.oops-in-interrupt", "A module whose RCU callback writes to address 0", |_| {
        load("oops-in-interrupt")?;
        // The callback comes at the end of a grace period, which is some ticks away.
        std::thread::sleep(std::time::Duration::from_secs(5));
        Ok(unharmed())
    }),
    Fault::new("fault.panic", "A module that calls panic()", |_| load("panic")),
    Fault::new("fault.rcu-stall", "A module whose RCU callback does not end for seconds", rcu_stall),
    Fault::new("fault.soft-lockup", "A module that spins with preemption off", soft_lockup).within(SHORT_MS),
    Fault::new("fault.stack-overflow", "A module that calls itself for ever", |_| load("stack-overflow")),
    Fault::new("fault.sysrq-crash", "A crash asked for with sysrq c", |_| {
        write("/proc/sysrq-trigger", "c")?;
        Ok(unharmed())
    }),
    Fault::new("fault.triple-fault", "A module that takes the interrupt table away", |_| load("triple-fault")),
    Fault::new("fault.ubsan", "A module that reports an index out of bounds", |_| load("ubsan")),
    Fault::new("fault.warning", "A module that meets a WARN_ON(), in a scenario that passes", |_| load("warning")),
];

/// Loads one of the host's modules. Returns where the kernel survives that.
fn load(name: &str) -> Result<Finding, Trouble> {
    let path = PathBuf::from(format!("/faults/{name}.ko"));
    let file = File::open(&path).during(format_args!("opening the module {}", path.display()))?;
    finit_module(&file, c"", ModuleInitFlags::empty())
        .during(format_args!("the kernel refused the module {}: finit_module(2)", path.display()))?;
    Ok(unharmed())
}

fn hard_lockup(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // Where the hardware has what the watchdog needs, it would end this; an emulator has not, and the kernel then says so
    // (before Linux 6.5) or makes the file one that nobody may write to (kernel/watchdog.c).
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
    // In ms. Kernels of distributions have it built in and turned off (Documentation/dev-tools/kfence.rst).
    write("/sys/module/kfence/parameters/sample_interval", "1")?;
    load("kfence")
}

fn rcu_stall(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // In seconds; no less is accepted (kernel/rcu/tree_stall.h).
    write("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout", "3")?;
    // A grace period that has begun keeps the timeout that it began with; it takes some ticks.
    std::thread::sleep(std::time::Duration::from_secs(1));
    load("rcu-stall")?;
    // The callbacks come at the end of grace periods, which are some ticks away, and take nine seconds.
    std::thread::sleep(std::time::Duration::from_secs(11));
    Ok(unharmed())
}

fn soft_lockup(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // A soft lockup is told after twice the threshold, in seconds (Documentation/admin-guide/lockup-watchdogs.rst).
    write("/proc/sys/kernel/watchdog_thresh", "1")?;
    load("soft-lockup")
}
