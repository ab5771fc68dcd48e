//! Faults of the guest as a whole (PID 1, agent, power, clock), and waits for faults that the host injects.

use std::os::unix::process::parent_id;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeSpec;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime, clock_settime};
use nix::unistd::Pid;

use super::{Fault, unharmed, write};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::{Finding, Trouble};

const INIT: Pid = Pid::from_raw(1);
/// The time limit of a leg that never ends, in ms, at the speed of real hardware.
const SHORT_MS: u64 = 500;
/// Long enough for the host to inject its fault.
const WAIT: Duration = Duration::from_secs(4);
/// `exit_group` (arch/x86/entry/syscalls/syscall_64.tbl).
const EXIT_GROUP: u64 = 231;

pub(super) const ALL: &[Fault] = &[
    Fault::new("fault.agent-killed", "The agent is killed", |_| {
        kill(agent(), Signal::SIGKILL).during("killing the agent")?;
        after_all()
    }),
    Fault::new("fault.agent-oom", "The OOM killer ends the agent", agent_oom),
    Fault::new("fault.clock-stepped", "The guest's clock is set a year ahead and two years back", clock_stepped),
    Fault::new("fault.halts", "The guest halts", |_| end(RebootMode::RB_HALT_SYSTEM)).within(SHORT_MS),
    Fault::new("fault.pid1-crashes", "PID 1 jumps to address 0", |_| redirect_init(|regs| regs.rip = 0)),
    Fault::new("fault.pid1-exits", "PID 1 exits", |_| {
        redirect_init(|regs| {
            // PID 1 waits in a system call. The two-byte syscall instruction is executed again, as another system call.
            regs.rip -= 2;
            regs.rax = EXIT_GROUP;
            regs.rdi = 7;
        })
    }),
    Fault::new("fault.pid1-signalled", "PID 1 is sent every signal", |_| signal_init()),
    Fault::new("fault.powers-off", "The guest powers off", |_| end(RebootMode::RB_POWER_OFF)),
    Fault::new("fault.reboots", "The guest reboots", |_| end(RebootMode::RB_AUTOBOOT)),
    Fault::new("fault.host-clock-stepped", "The host's clock is set an hour back", wait),
    Fault::new("fault.qemu-aborted", "QEMU aborts", wait),
    Fault::new("fault.qemu-killed", "QEMU is killed", wait),
    Fault::new("fault.qemu-stopped", "QEMU is stopped and never continued", wait).within(SHORT_MS),
    Fault::new("fault.qmp-closed", "QEMU's monitor socket is closed", wait),
    Fault::new("fault.vmlab-killed", "vmlab is killed", wait),
];

fn agent() -> Pid {
    // PIDs are positive and far below the limit of i32 (proc(5), pid_max).
    Pid::from_raw(parent_id().cast_signed())
}

/// The kernel drops a signal to PID 1 only if PID 1 has no handler for it (kill(2), NOTES).
fn signal_init() -> Result<Finding, Trouble> {
    let status = std::fs::read_to_string("/proc/1/status").during("reading /proc/1/status")?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
    if caught != Some("0000000000000000") {
        return Err(Trouble::new(format_args!("PID 1 handles signals: SigCgt is {caught:?}")));
    }
    for signal in Signal::iterator() {
        kill(INIT, signal).during(format_args!("sending {signal} to PID 1"))?;
    }
    Ok(unharmed())
}

/// Waits until the fault takes effect.
fn after_all() -> Result<Finding, Trouble> {
    sleep(WAIT);
    Ok(unharmed())
}

fn wait(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    after_all()
}

fn end(mode: RebootMode) -> Result<Finding, Trouble> {
    match reboot(mode) {
        Err(error) => Err(error).during("reboot(2)"),
        Ok(never) => match never {},
    }
}

fn agent_oom(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    write(format!("/proc/{}/oom_score_adj", agent()), "1000")?;
    write("/proc/self/oom_score_adj", "-1000")?;
    // sysrq f calls the OOM killer once (Documentation/admin-guide/sysrq.rst).
    write("/proc/sysrq-trigger", "f")?;
    after_all()
}

fn clock_stepped(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const YEAR: i64 = 365 * 86_400;
    let now = clock_gettime(ClockId::CLOCK_REALTIME).during("clock_gettime(2)")?;
    for step in [YEAR, -YEAR] {
        let then = TimeSpec::new(now.tv_sec() + step, now.tv_nsec());
        clock_settime(ClockId::CLOCK_REALTIME, then).during("clock_settime(2)")?;
        sleep(Duration::from_millis(100));
    }
    Ok(unharmed())
}

/// Changes the registers of PID 1. PID 1 ignores every signal (kill(2), NOTES) but can be traced like any process.
fn redirect_init(change: fn(&mut nix::libc::user_regs_struct)) -> Result<Finding, Trouble> {
    ptrace::seize(INIT, ptrace::Options::empty()).during("PTRACE_SEIZE of PID 1")?;
    ptrace::interrupt(INIT).during("PTRACE_INTERRUPT of PID 1")?;
    match waitpid(INIT, None).during("waiting for PID 1 to stop")? {
        WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..) => {}
        other => return Err(Trouble::new(format_args!("PID 1 did not stop; waitpid(2) returned {other:?}"))),
    }
    let mut regs = ptrace::getregs(INIT).during("PTRACE_GETREGS of PID 1")?;
    // The kernel must not restart a system call (arch/x86/kernel/signal.c, arch_do_signal_or_restart).
    regs.orig_rax = u64::MAX;
    change(&mut regs);
    ptrace::setregs(INIT, regs).during("PTRACE_SETREGS of PID 1")?;
    ptrace::detach(INIT, None).during("PTRACE_DETACH of PID 1")?;
    after_all()
}
