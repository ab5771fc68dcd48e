//! fork(2), with the child's life kept within a closure.

use nix::Result;
use nix::libc;
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
