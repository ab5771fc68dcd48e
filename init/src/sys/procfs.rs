//! A procfs of a chosen PID namespace, by fsopen(2), fsconfig(2) and fsmount(2).

use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_uint};

use super::pidfd::owned;

const SET_STRING: c_uint = 1;
const CMD_CREATE: c_uint = 6;

/// The configuration of a procfs for the PID namespace of this file of /proc/PID/ns. Linux 6.18.
///
/// # Errors
/// `EINVAL` on older kernels, and for a namespace that does not descend from the caller's.
pub(crate) fn configure(namespace: &CStr) -> Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), 0) })?;
    // SAFETY: key and value are NUL-terminated.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            SET_STRING,
            c"pidns".as_ptr(),
            namespace.as_ptr(),
            0 as c_int,
        )
    })?;
    Ok(context)
}

/// Creates the procfs and a mount of it that is attached nowhere; returns its root.
///
/// # Errors
/// As fsconfig(2) and fsmount(2).
pub(crate) fn mount_detached(context: &OwnedFd) -> Result<OwnedFd> {
    let none = std::ptr::null::<u8>();
    // SAFETY: this command takes no key and no value.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CMD_CREATE, none, none, 0 as c_int)
    })?;
    // SAFETY: the call takes no pointers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 0, 0) })
}
