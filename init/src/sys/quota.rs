//! Quotas of projects (quotactl(2)).

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_uint};
use nix::{NixPath, Result};

const PRJQUOTA: c_int = 2;
const Q_GETQUOTA: c_uint = 0x80_0007;
const Q_SETQUOTA: c_uint = 0x80_0008;
const QIF_BLIMITS: u32 = 1;

/// How quotactl(2) finds the file system.
#[derive(Clone, Copy)]
pub(crate) enum Disk<'a> {
    /// quotactl(2): by the block device.
    Device(&'a Path),
    /// `quotactl_fd(2)`, Linux 5.14: by a file.
    File(&'a File),
}

/// The bytes that a project uses.
///
/// # Errors
/// `ENOTBLK` if the path is no block device; `ESRCH` if the file system has no quotas of projects; `ENOSYS`.
pub(crate) fn project_usage(disk: Disk<'_>, project: u32) -> Result<u64> {
    let mut quota = MaybeUninit::<libc::dqblk>::zeroed();
    quotactl(disk, Q_GETQUOTA, project, quota.as_mut_ptr())?;
    // SAFETY: each bit pattern is a dqblk, and the memory was zeroed before the kernel wrote to it.
    Ok(unsafe { quota.assume_init() }.dqb_curspace)
}

/// Sets the hard limit of a project. Not for root, who has `CAP_SYS_RESOURCE`.
///
/// # Errors
/// As [`project_usage`].
pub(crate) fn limit_project(disk: Disk<'_>, project: u32, bytes: u64) -> Result<()> {
    // SAFETY: a dqblk is made of integers.
    let mut quota = unsafe { MaybeUninit::<libc::dqblk>::zeroed().assume_init() };
    // In units of 1024 bytes.
    quota.dqb_bhardlimit = bytes / 1024;
    quota.dqb_valid = QIF_BLIMITS;
    quotactl(disk, Q_SETQUOTA, project, &raw mut quota)
}

/// The errno of `quotactl_fd(2)` for a descriptor that is never open: `EBADF`, or `ENOSYS` before Linux 5.14.
pub(crate) fn quotactl_fd_nowhere() -> Result<()> {
    // SAFETY: the kernel looks at the pointer only after the descriptor.
    let done = unsafe { libc::syscall(libc::SYS_quotactl_fd, -1, command(Q_GETQUOTA), 0, std::ptr::null_mut::<u8>()) };
    Errno::result(done).map(drop)
}

/// The macro QCMD of <linux/quota.h> for projects.
const fn command(operation: c_uint) -> c_int {
    ((operation << 8) | PRJQUOTA.cast_unsigned()).cast_signed()
}

/// `quota` must point to a live struct.
fn quotactl(disk: Disk<'_>, operation: c_uint, project: u32, quota: *mut libc::dqblk) -> Result<()> {
    let (command, id) = (command(operation), project.cast_signed());
    match disk {
        Disk::Device(path) => path.with_nix_path(|path| {
            // SAFETY: the path is NUL-terminated, and quota points to a live struct (see above).
            Errno::result(unsafe { libc::quotactl(command, path.as_ptr(), id, quota.cast()) }.into())
        })?,
        Disk::File(file) => {
            let fd = file.as_fd().as_raw_fd();
            // SAFETY: quota points to a live struct (see above).
            Errno::result(unsafe { libc::syscall(libc::SYS_quotactl_fd, fd, command, id, quota) })
        }
    }
    .map(drop)
}
