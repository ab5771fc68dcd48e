//! pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2), and ioctls of pidfds.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_uint};
use nix::unistd::Pid;

use super::descriptor::owned;

/// Flag of pidfd_open(2): the descriptor refers to a thread. Linux 6.9.
pub(crate) const THREAD: c_uint = 0o200;
/// Stands for the calling thread, in the place of a pidfd. Linux 6.15.
pub(crate) const SELF: RawFd = -10_000;
/// Bits of `pidfd_info.mask`.
pub(crate) const INFO_PID: u64 = 1;
pub(crate) const INFO_EXIT: u64 = 1 << 3;

/// The first published form of `struct pidfd_info` of <linux/pidfd.h>, 64 bytes.
#[repr(C)]
#[derive(Debug, Default)]
struct Info {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    /// Real, effective, saved and file system ids.
    ids: [u32; 8],
    exit_code: i32,
}

const _: () = assert!(size_of::<Info>() == 64, "the size is a part of the ioctl's number");

nix::ioctl_readwrite!(pidfd_get_info, 0xff, 11, Info);

/// Opens a pidfd. Linux 5.3.
///
/// # Errors
/// As pidfd_open(2): `ESRCH`; `EINVAL` for an unknown flag, and, without [`THREAD`], for a thread that leads no group (`ENOENT` on
/// newer kernels).
pub(crate) fn open(pid: Pid, flags: c_uint) -> Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), flags) })
}

/// Sends a signal to the process of a pidfd, or of [`SELF`]. Linux 5.1.
///
/// # Errors
/// As pidfd_send_signal(2): `EBADF`, `EPERM`, and `ESRCH` if the process has been reaped.
pub(crate) fn send_signal(pidfd: RawFd, signal: c_int) -> Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without a siginfo_t the call reads no memory.
    Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, info, 0) }).map(drop)
}

/// Duplicates another process's descriptor. Linux 5.6.
///
/// # Errors
/// As pidfd_getfd(2): `EPERM` if the caller may not trace the process; `EBADF`.
pub(crate) fn get_descriptor(pidfd: impl AsFd, number: RawFd) -> Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), number, 0) })
}

/// What the kernel tells of a process: the mask of what it tells, and the status as of waitpid(2). Linux 6.13.
///
/// # Errors
/// As ioctl(2): `ENOTTY` or `EINVAL` on older kernels; `ESRCH` if the process has been reaped and `mask` does not ask for its end.
pub(crate) fn info(pidfd: impl AsFd, mask: u64) -> Result<(u64, i32)> {
    let mut info = Info { mask, ..Info::default() };
    // SAFETY: the kernel reads and writes a pidfd_info of the size in the ioctl's number.
    unsafe { pidfd_get_info(pidfd.as_fd().as_raw_fd(), &raw mut info) }?;
    Ok((info.mask, info.exit_code))
}

/// Opens the UTS namespace of the process (`PIDFD_GET_UTS_NAMESPACE`). Linux 6.11.
///
/// # Errors
/// `ENOTTY` on older kernels, `ESRCH` if the process has ended.
pub(crate) fn uts_namespace(pidfd: impl AsFd) -> Result<OwnedFd> {
    const PIDFD_GET_UTS_NAMESPACE: libc::Ioctl = nix::request_code_none!(0xff, 10);
    // SAFETY: the argument is no pointer; the kernel wants 0.
    owned(unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_UTS_NAMESPACE, 0) }.into())
}
