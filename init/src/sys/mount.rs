//! mount_setattr(2), Linux 5.12.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::Result;
use nix::errno::Errno;
use nix::libc;

/// Makes the mount at `path` and all mounts below it read-only.
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EINVAL` if `path` is no mount point or contains a NUL byte; `EBUSY` if a file of one of
/// the mounts is open for writing.
pub(crate) fn make_read_only_recursively(path: &Path) -> Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    setattr(libc::AT_FDCWD, &path)
}

/// The errno of mount_setattr(2) for a descriptor that is never open: `EBADF`, or `ENOSYS` before Linux 5.12.
pub(crate) fn setattr_errno_without_file() -> Errno {
    setattr(-1, c"nothing").err().unwrap_or(Errno::UnknownErrno)
}

fn setattr(dir: i32, path: &CStr) -> Result<()> {
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: path is NUL-terminated and attr is a live struct of the size given; the kernel only reads both.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}
