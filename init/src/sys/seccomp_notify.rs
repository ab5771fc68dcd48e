//! System calls that another process decides on (seccomp_unotify(2)). Linux 5.0, with CONTINUE 5.5.

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_long, sock_filter, sock_fprog};

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;

/// `struct seccomp_notif`: a system call that waits for its answer.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Call {
    id: u64,
    pub(crate) pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction_pointer: u64,
    pub(crate) arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// Sends each further system call of this number, of the calling process and its later children, to the returned descriptor.
///
/// # Errors
/// As seccomp(2): `EINVAL` before Linux 5.0, `EACCES` without CAP_SYS_ADMIN.
pub(crate) fn listen(number: c_long) -> Result<OwnedFd> {
    let number = u32::try_from(number).map_err(|_| Errno::EINVAL)?;
    // Load the number, which is the first field; ask if it is equal, and allow otherwise.
    let mut filter = [
        sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        sock_filter { code: 0x15, jt: 0, jf: 1, k: number },
        sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_USER_NOTIF },
        sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the kernel reads the program and its instructions, which are live.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the descriptor is new, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits for a system call.
///
/// # Errors
/// As ioctl(2): `ENOENT` if the caller was killed meanwhile.
pub(crate) fn receive(listener: impl AsFd) -> Result<Call> {
    let mut call = Call::default();
    // SAFETY: the kernel writes a struct seccomp_notif to the live one, which is zeroed as the call demands.
    Errno::result(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) })?;
    Ok(call)
}

/// Lets the system call happen, or fail with an errno.
///
/// # Errors
/// As ioctl(2): `ENOENT` if the caller was killed meanwhile.
pub(crate) fn answer(listener: impl AsFd, call: &Call, refused: Option<Errno>) -> Result<()> {
    let flags = if refused.is_none() { CONTINUE } else { 0 };
    let response = Response { id: call.id, value: 0, error: refused.map_or(0, |errno| -(errno as i32)), flags };
    // SAFETY: the kernel reads a struct seccomp_notif_resp, which is live.
    Errno::result(unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response)
    })
    .map(drop)
}
