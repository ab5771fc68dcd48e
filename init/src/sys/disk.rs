//! Loop devices (loop(4)) and quotas of projects (quotactl(2)).

use std::fs::{File, OpenOptions};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_uint, c_ulong};
use nix::{NixPath, Result};

const LOOP_CTL_GET_FREE: c_ulong = 0x4c82;
const LOOP_CONFIGURE: c_ulong = 0x4c0a;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const PRJQUOTA: c_int = 2;
const Q_GETQUOTA: c_uint = 0x80_0007;
const Q_SETQUOTA: c_uint = 0x80_0008;
const QIF_BLIMITS: u32 = 1;

/// `struct loop_config` of <linux/loop.h>, with the fields of `struct loop_info64` that are not zero.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    before_flags: [u32; 13],
    flags: u32,
    after_flags: [u64; 22],
    reserved: [u64; 8],
}

/// Attaches an image to a free loop device, which detaches itself when it is closed and unmounted. Linux 5.8.
///
/// # Errors
/// As opening the devices, and as the ioctls; `EBUSY` if another process took the device first.
pub(crate) fn attach_loop(image: &File) -> std::io::Result<(PathBuf, File)> {
    let control = File::open("/dev/loop-control")?;
    // SAFETY: the call takes no pointers.
    let number = Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let device = OpenOptions::new().read(true).write(true).open(&path)?;
    let config = LoopConfig {
        fd: u32::try_from(image.as_raw_fd()).map_err(|_| Errno::EBADF)?,
        block_size: 0,
        before_flags: [0; 13],
        flags: LO_FLAGS_AUTOCLEAR,
        after_flags: [0; 22],
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads a struct of this layout from a live one.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) })?;
    Ok((path, device))
}

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
