//! fork(2), with the child's life kept within a closure.

use nix::Result;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid, fork};

/// Forks; the child runs `child` and exits with what it returns, without running the parent's destructors or
/// `atexit` handlers.
///
/// # Errors
/// As fork(2): `EAGAIN`, `ENOMEM`.
pub fn fork_with(child: impl FnOnce() -> u8) -> Result<Pid> {
    // SAFETY: no process of this crate ever has a second thread, so the child may do all that the parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = child();
            // SAFETY: ends the process at once; no memory is touched.
            unsafe { libc::_exit(i32::from(code)) }
        }
    }
}

/// Gives a signal the action that it has in a new program, signal(7): Rust's runtime ignores SIGPIPE and handles SIGSEGV
/// and SIGBUS.
///
/// # Errors
/// As sigaction(2): `EINVAL` for SIGKILL and SIGSTOP.
pub fn default_action(signal: Signal) -> Result<()> {
    let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed, so no code runs in a signal's context.
    unsafe { sigaction(signal, &action) }.map(drop)
}
