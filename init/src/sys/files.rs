//! fgetxattr(2), statx(2) and close_range(2).

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_uint};

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
    id_of_mount(file.as_fd(), libc::STATX_MNT_ID)
}

/// The id of the mount that the open file is on, which no later mount gets again. Linux 6.8.
///
/// # Errors
/// As [`mount_id`].
pub(crate) fn unique_mount_id(file: impl AsFd) -> Result<u64> {
    const STATX_MNT_ID_UNIQUE: c_uint = 0x4000;
    id_of_mount(file.as_fd(), STATX_MNT_ID_UNIQUE)
}

fn id_of_mount(file: BorrowedFd<'_>, field: c_uint) -> Result<u64> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    // Not by libc's function: the standard library declares it as weak, and then nothing makes the linker take it from the static C
    // library. The call went to address 0.
    // SAFETY: the path is NUL-terminated, and the kernel writes a statx to a live one.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_statx, file.as_raw_fd(), c"".as_ptr(), flags, field, found.as_mut_ptr())
    })?;
    // SAFETY: each bit pattern is a statx, and the memory was zeroed before the kernel wrote to it.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & field == 0 { Err(Errno::ENOSYS) } else { Ok(found.stx_mnt_id) }
}

/// Closes all descriptors but the standard ones and those of `kept`. Linux 5.9. Only for a process that then uses no other
/// descriptor, and ends without running destructors.
///
/// # Errors
/// As close_range(2): `ENOSYS`.
pub(crate) fn close_all_but(kept: &[RawFd]) -> Result<()> {
    // Numbers of 64 bits, which this program sorts in other places too.
    let mut kept: Vec<_> = kept.iter().filter_map(|fd| u64::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().chain([u64::from(c_uint::MAX)]) {
        if first < fd {
            // SAFETY: the call takes no pointers. The caller uses none of the descriptors any more.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) })?;
        }
        first = first.max(fd.saturating_add(1));
    }
    Ok(())
}
