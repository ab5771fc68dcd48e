//! setpriority(2).

use nix::Result;
use nix::errno::Errno;
use nix::libc;

/// Sets the nice value of the calling process.
///
/// # Errors
/// As setpriority(2): `EACCES` for a lower value without `CAP_SYS_NICE`.
pub(crate) fn be_nice(value: i32) -> Result<()> {
    // SAFETY: the call takes no pointers; 0 stands for the caller.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) }).map(drop)
}
