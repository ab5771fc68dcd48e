//! fork(2) with the child's code as a closure, and signal(2).

use nix::Result;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid, fork};

/// Forks. The child runs `child` and exits with the returned code; it runs no destructors or `atexit` handlers of the
/// parent.
///
/// # Errors
/// As fork(2): `EAGAIN`, `ENOMEM`.
pub(crate) fn fork_with(child: impl FnOnce() -> u8) -> Result<Pid> {
    // SAFETY: no process of this crate ever has a second thread, so the child may call any function.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = child();
            // SAFETY: _exit(2) ends the process at once and touches no memory.
            unsafe { libc::_exit(i32::from(code)) }
        }
    }
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
