//! reboot(2), syslog(2), fanotify_init(2), process ids across PID namespaces (ioctl_nsfs(2)), and prlimit(2).

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_uint};
use nix::unistd::Pid;

use super::descriptor::owned;

/// Calls reboot(2) with this command. Inside a PID namespace, a command that succeeds ends the caller.
///
/// # Errors
/// As reboot(2): `EPERM`; `EINVAL` for a command that PID namespaces do not know.
pub(crate) fn reboot(command: c_int) -> Result<()> {
    // SAFETY: the text is NUL-terminated; only LINUX_REBOOT_CMD_RESTART2 reads it.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_reboot,
            libc::LINUX_REBOOT_MAGIC1,
            libc::LINUX_REBOOT_MAGIC2,
            command,
            c"vmlab".as_ptr(),
        )
    })
    .map(drop)
}

/// Reads the end of the kernel's log (syslog(2), `SYSLOG_ACTION_READ_ALL`); returns how many bytes it has read.
///
/// # Errors
/// As syslog(2): `EPERM`, `ENOSYS`.
pub(crate) fn read_log() -> Result<c_int> {
    let mut buffer = [0_u8; 256];
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    Errno::result(unsafe { libc::klogctl(3, buffer.as_mut_ptr().cast(), 256) })
}

/// Hides the log's present records from later calls of [`read_log`] (syslog(2), `SYSLOG_ACTION_CLEAR`). /dev/kmsg still has them.
///
/// # Errors
/// As syslog(2): `EPERM`, `ENOSYS`.
pub(crate) fn clear_log() -> Result<()> {
    // SAFETY: this action ignores the pointer.
    Errno::result(unsafe { libc::klogctl(5, std::ptr::null_mut(), 0) }).map(drop)
}

/// A flag of fanotify_init(2): events name files by their handles. Linux 5.1.
pub(crate) const FAN_REPORT_FID: c_uint = 0x200;

/// Creates a group of notifications.
///
/// # Errors
/// As fanotify_init(2): `EPERM`, `ENOSYS`.
pub(crate) fn notification_group(flags: c_uint) -> Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    owned(unsafe { libc::syscall(libc::SYS_fanotify_init, flags, 0) })
}

/// The PID in the caller's PID namespace of the process that has this PID in another one. Linux 6.11.
///
/// # Errors
/// `ENOTTY` on older kernels; `ESRCH` if there is no such process.
pub(crate) fn pid_from(namespace: impl AsFd, pid: Pid) -> Result<i32> {
    translate(namespace, 6, pid)
}

/// The PID in another PID namespace of the process that has this PID in the caller's. Linux 6.11.
///
/// # Errors
/// As [`pid_from`].
pub(crate) fn pid_in(namespace: impl AsFd, pid: Pid) -> Result<i32> {
    translate(namespace, 8, pid)
}

fn translate(namespace: impl AsFd, number: u8, pid: Pid) -> Result<i32> {
    let request = nix::request_code_read!(0xb7, number, size_of::<c_int>());
    // SAFETY: the argument is a PID, no pointer.
    Errno::result(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), request, pid.as_raw()) })
}

/// Reads a limit of another process; returns nothing but success.
///
/// # Errors
/// As prlimit(2): `ESRCH`, `EPERM`.
pub(crate) fn query_limit(pid: Pid) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads nothing and writes an rlimit to a live one.
    Errno::result(unsafe { libc::prlimit(pid.as_raw(), libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) })
        .map(drop)
}
