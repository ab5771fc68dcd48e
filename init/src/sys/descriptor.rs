//! Descriptors that system calls return, and file handles (open_by_handle_at(2)).

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_uint};

/// The new descriptor that a call returned.
///
/// # Errors
/// The call's errno, if it failed.
pub(super) fn owned(fd: c_long) -> Result<OwnedFd> {
    let fd = c_int::try_from(Errno::result(fd)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the callers pass the results of calls that return new descriptors, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `struct file_handle` of <linux/fs.h> with room for namespaces (nsfs) and pidfds (pidfs).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handle {
    bytes: c_uint,
    kind: c_int,
    handle: [u8; 32],
}

impl Handle {
    /// The handle of an open file.
    ///
    /// # Errors
    /// As name_to_handle_at(2): `EOPNOTSUPP` if the file system has no handles, `ENOSYS` without CONFIG_FHANDLE.
    pub(crate) fn of(file: impl AsFd) -> Result<Self> {
        let mut handle = Self { bytes: 32, kind: 0, handle: [0; 32] };
        let mut mount: c_int = 0;
        // SAFETY: the path is NUL-terminated; the kernel writes at most as many bytes as the handle says that it has, and an int.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                file.as_fd().as_raw_fd(),
                c"".as_ptr(),
                &raw mut handle,
                &raw mut mount,
                libc::AT_EMPTY_PATH,
            )
        })?;
        Ok(handle)
    }

    /// Opens the file. `neighbour` is any file of the same file system.
    ///
    /// # Errors
    /// As open_by_handle_at(2): `ESTALE` if the file is gone, or is a pidfd of no process at or below the caller's PID namespace.
    pub(crate) fn open(&self, neighbour: impl AsFd) -> Result<OwnedFd> {
        let neighbour = neighbour.as_fd().as_raw_fd();
        // SAFETY: the kernel reads a live file_handle with as many bytes as it says.
        owned(unsafe {
            libc::syscall(libc::SYS_open_by_handle_at, neighbour, std::ptr::from_ref(self), libc::O_CLOEXEC)
        })
    }
}
