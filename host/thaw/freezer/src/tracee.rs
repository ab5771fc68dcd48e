//! The stopped threads of a process.

use std::fs;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::procfs;
use crate::refusal::Refusal;

type Registers = libc::user_regs_struct;

/// The results with which the kernel remembers that it has to make an interrupted system call again: `ERESTARTSYS` to
/// `ERESTART_RESTARTBLOCK` (include/linux/errno.h), without `ENOIOCTLCMD`.
const RESTARTS: [i64; 4] = [-512, -513, -514, -516];
/// The instruction `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// A thread that is stopped in a system call. When it is dropped, the thread makes its system call again.
pub(crate) struct Tracee {
    pub(crate) thread: Pid,
    /// The registers with which the thread makes its system call again.
    pub(crate) registers: Registers,
    /// Whether `registers` has been set: before that, the thread has its own.
    waits: bool,
    /// A signal that arrived while it was stopped.
    signal: Option<Signal>,
}

/// Stops all threads. The first one is the process's first.
///
/// # Errors
/// [`Refusal::Runs`] if a thread was not in a system call.
pub(crate) fn stop_all(process: Pid, limit: usize) -> Result<Vec<Tracee>, Refusal> {
    let mut stopped: Vec<Tracee> = Vec::new();
    // A thread that was not stopped yet may have made another, or end: QEMU's workers do when they have nothing to do.
    loop {
        let all = threads(process)?;
        if all.len() > limit {
            return Err(Refusal::Threads { count: all.len(), limit });
        }
        let is_new = |thread: &Pid| !stopped.iter().any(|tracee| tracee.thread == *thread);
        let new: Vec<_> = all.into_iter().filter(is_new).collect();
        if new.is_empty() {
            break;
        }
        for thread in new {
            stopped.extend(Tracee::stop(thread)?);
        }
    }
    if !stopped.iter().any(|tracee| tracee.thread == process) {
        return Err(Refusal::Ended);
    }
    stopped.sort_by_key(|tracee| (tracee.thread != process, tracee.thread));
    for tracee in &mut stopped {
        tracee.expect_waiting()?;
    }
    Ok(stopped)
}

fn threads(process: Pid) -> Result<Vec<Pid>, Refusal> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).map_err(Refusal::on("list QEMU's threads"))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    names
        .map(|name| {
            let name = name.map_err(Refusal::on("list QEMU's threads"))?;
            let id = name.to_str().and_then(|name| name.parse().ok());
            id.map(Pid::from_raw).ok_or_else(|| procfs::unreadable("task", &name.to_string_lossy()))
        })
        .collect()
}

/// Whether a thread has ended: it is gone, a zombie or dead.
fn has_ended(thread: Pid) -> bool {
    let state = |stat: String| procfs::stat_fields(&stat).first().map(|state| (*state).to_owned());
    procfs::read(thread, "stat").map_or(true, |stat| matches!(state(stat).as_deref(), Some("Z" | "X" | "x")))
}

impl Tracee {
    /// Stops a thread. None if it has ended.
    fn stop(thread: Pid) -> Result<Option<Self>, Refusal> {
        let seized = ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD);
        match seized.and_then(|()| ptrace::interrupt(thread)) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(None),
            // Also for a thread that is about to vanish (kernel/ptrace.c, ptrace_attach: exit_state).
            Err(Errno::EPERM) if has_ended(thread) => return Ok(None),
            Err(Errno::EPERM) => return Err(Refusal::NoTracing(Errno::EPERM)),
            Err(error) => return Err(Refusal::on("stop QEMU's threads")(error)),
        }
        let mut signal = None;
        loop {
            match waitpid(thread, Some(WaitPidFlag::__WALL)).map_err(Refusal::on("wait for QEMU's threads"))? {
                // PTRACE_EVENT_STOP
                WaitStatus::PtraceEvent(_, _, 128) => break,
                WaitStatus::Stopped(_, arrived) => {
                    // Deliver it, and wait for the stop that was asked for.
                    signal = Some(arrived);
                    ptrace::cont(thread, arrived).map_err(Refusal::on("deliver a signal to QEMU"))?;
                }
                WaitStatus::Exited(..) => return Ok(None),
                _ => return Err(Refusal::Ended),
            }
        }
        let registers = ptrace::getregs(thread).map_err(Refusal::on("read QEMU's registers"))?;
        let tracee = Self { thread, registers, waits: false, signal: None };
        if signal.is_some() { Err(Refusal::Interrupted) } else { Ok(Some(tracee)) }
    }

    /// Makes sure that the thread was in a system call that it can make again, and prepares its registers for that.
    fn expect_waiting(&mut self) -> Result<(), Refusal> {
        let Registers { orig_rax, rax, rip, .. } = self.registers;
        let mut instruction = [0; 2];
        let at = rip.wrapping_sub(2);
        let read = procfs::Memory::of(self.thread).and_then(|memory| memory.read_exact_at(&mut instruction, at));
        let waits = orig_rax.cast_signed() >= 0 && RESTARTS.contains(&rax.cast_signed());
        if !waits || read.is_err() || instruction != SYSCALL {
            let name = procfs::read(self.thread, "comm")?.trim_end().to_owned();
            return Err(Refusal::Runs { name, thread: self.thread.as_raw() });
        }
        self.registers = Registers { rip: at, rax: orig_rax, orig_rax: u64::MAX, ..self.registers };
        self.waits = true;
        Ok(())
    }

    /// Makes a system call as this thread. The result is negative if it failed.
    pub(crate) fn call(&mut self, number: libc::c_long, arguments: [u64; 5]) -> Result<i64, Refusal> {
        let failed = |_| Refusal::Ended;
        let [rdi, rsi, rdx, r10, r8] = arguments;
        let rax = number.unsigned_abs();
        let registers = Registers { rax, rdi, rsi, rdx, r10, r8, ..self.registers };
        ptrace::setregs(self.thread, registers).map_err(failed)?;
        // The stop before the call, and the one behind it.
        for _ in 0..2 {
            ptrace::syscall(self.thread, None).map_err(failed)?;
            match waitpid(self.thread, Some(WaitPidFlag::__WALL)).map_err(failed)? {
                WaitStatus::PtraceSyscall(_) => {}
                WaitStatus::Stopped(_, signal) => {
                    self.signal = Some(signal);
                    return Err(Refusal::Interrupted);
                }
                _ => return Err(Refusal::Ended),
            }
        }
        ptrace::getregs(self.thread).map(|registers| registers.rax.cast_signed()).map_err(failed)
    }

    /// An address below the thread's stack, aligned, at which a system call can write up to 1 KiB. Nothing is there: the ABI lets
    /// a function use 128 bytes below its stack pointer.
    pub(crate) const fn room(&self) -> u64 {
        self.registers.rsp.wrapping_sub(2048) & !63
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        // Both calls fail only if the thread has ended. Then there is nothing to give back.
        if self.waits {
            let _ = ptrace::setregs(self.thread, self.registers);
        }
        let _ = ptrace::detach(self.thread, self.signal);
    }
}
