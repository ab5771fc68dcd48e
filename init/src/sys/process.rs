//! fork(2) with the child's code as a closure, waitpid(2), kill(2) and signal(2).

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::Result;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{ForkResult, Pid, fork};

/// Forks. The child runs `child` and exits with the returned code; it runs no destructors or `atexit` handlers of the
/// parent.
///
/// # Errors
/// As fork(2): `EAGAIN`, `ENOMEM`.
pub(crate) fn fork_with(child: impl FnOnce() -> u8) -> Result<Pid> {
    // SAFETY: no process of this crate that forks has a second thread, so the child may call any function.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = child();
            // SAFETY: _exit(2) ends the process at once and touches no memory.
            unsafe { libc::_exit(i32::from(code)) }
        }
    }
}

/// Lets the calling process run before all ordinary ones, as soon as it is ready (sched(7), SCHED_FIFO). Its children are ordinary.
///
/// # Errors
/// As sched_setscheduler(2): `EPERM`.
pub(crate) fn run_first() -> Result<()> {
    // SAFETY: sched_param is plain data, for which zeros are valid.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = 1;
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call reads the parameters, which are live; 0 stands for the caller.
    Errno::result(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) }).map(drop)
}

/// Restores a signal's default action (signal(7)): Rust's runtime ignores SIGPIPE and handles SIGSEGV and SIGBUS.
///
/// # Errors
/// As sigaction(2): `EINVAL` for SIGKILL and SIGSTOP.
pub(crate) fn default_action(signal: Signal) -> Result<()> {
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed, so no code runs in a signal's context.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// Handles a signal by doing nothing, which, unlike ignoring it, interrupts system calls.
///
/// # Errors
/// As sigaction(2): `EINVAL` for SIGKILL and SIGSTOP.
pub(crate) fn handle_without_effect(signal: Signal) -> Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// Restores the default action of every signal, with the real-time signals.
pub(crate) fn default_actions() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: no handler is installed. SIGKILL, SIGSTOP and the signals of the C library refuse, and need no change.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Reaps `child`, or any child if it is None; with WNOHANG, None if no child has ended. Unlike nix's waitpid, it knows children
/// that a real-time signal has killed.
///
/// # Errors
/// As waitpid(2): `ECHILD`, `EINTR`.
pub(crate) fn reap(child: Option<Pid>, flags: WaitPidFlag) -> Result<Option<(Pid, ExitStatus)>> {
    let mut status = 0;
    let pid = child.map_or(-1, Pid::as_raw);
    // SAFETY: the kernel writes an int to a live int.
    let pid = Errno::result(unsafe { libc::waitpid(pid, &raw mut status, flags.bits()) })?;
    Ok((pid != 0).then(|| (Pid::from_raw(pid), ExitStatus::from_raw(status))))
}

/// Reaps a child, whatever signal its end sends.
///
/// # Errors
/// As waitpid(2): `ECHILD`.
pub(crate) fn reap_any(child: Pid) -> Result<ExitStatus> {
    loop {
        match reap(Some(child), WaitPidFlag::__WALL) {
            Err(Errno::EINTR) | Ok(None) => {}
            Ok(Some((_, status))) => return Ok(status),
            Err(errno) => return Err(errno),
        }
    }
}

/// Sends a signal by its number, which may be that of a real-time signal. A negative `pid` stands for a process group.
///
/// # Errors
/// As kill(2): `ESRCH`; `EINVAL` if there is no such signal.
pub(crate) fn send_signal(pid: Pid, signal: i32) -> Result<()> {
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::kill(pid.as_raw(), signal) }).map(drop)
}
