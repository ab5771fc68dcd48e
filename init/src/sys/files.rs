//! fgetxattr(2), statx(2) and close_range(2).

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, RawFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc;

/// Whether the open file has an extended attribute of this name.
///
/// # Errors
/// As fgetxattr(2). A file without the attribute, and a file system without attributes, are no errors.
pub(crate) fn has_attribute(file: impl AsFd, name: &CStr) -> Result<bool> {
    // SAFETY: the name is NUL-terminated; with a length of 0 the kernel writes nothing.
    let length = unsafe { libc::fgetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), std::ptr::null_mut(), 0) };
    match Errno::result(length) {
        Ok(_) => Ok(true),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The id of the mount that the open file is on. Linux 5.8.
///
/// # Errors
/// As statx(2); `ENOSYS` if the kernel does not tell the id.
pub(crate) fn mount_id(file: impl AsFd) -> Result<u64> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is NUL-terminated, and the kernel writes a statx to a live one.
    let done = unsafe {
        libc::statx(
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW,
            libc::STATX_MNT_ID,
            found.as_mut_ptr(),
        )
    };
    Errno::result(done)?;
    // SAFETY: each bit pattern is a statx, and the memory was zeroed before the kernel wrote to it.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & libc::STATX_MNT_ID == 0 { Err(Errno::ENOSYS) } else { Ok(found.stx_mnt_id) }
}

/// Closes all descriptors but the standard ones and those of `kept`. Linux 5.9. Only for a process that then uses no other
/// descriptor, and ends without running destructors.
///
/// # Errors
/// As close_range(2): `ENOSYS`.
pub(crate) fn close_all_but(kept: &[RawFd]) -> Result<()> {
    let mut kept: Vec<_> = kept.iter().filter_map(|fd| libc::c_uint::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().chain([libc::c_uint::MAX]) {
        if first < fd {
            // SAFETY: the call takes no pointers. The caller uses none of the descriptors any more.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) })?;
        }
        first = first.max(fd.saturating_add(1));
    }
    Ok(())
}
