//! System calls that another process decides on (seccomp_unotify(2)). Linux 5.0, with CONTINUE 5.5.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_ulong, sock_filter, sock_fprog};

use super::descriptor::owned;

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: only a fatal signal interrupts a call that the supervisor has received. Linux 5.19.
pub(crate) const WAIT_KILLABLE_RECV: c_ulong = 1 << 5;
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

nix::ioctl_readwrite!(notif_recv, b'!', 0, Call);
nix::ioctl_readwrite!(notif_send, b'!', 1, Response);
nix::ioctl_write_ptr!(notif_id_valid, b'!', 2, u64);

/// Sends each further system call of this number, of the calling process and its later children, to the returned descriptor.
/// `flags` are more flags of seccomp(2).
///
/// # Errors
/// As seccomp(2): `EINVAL` for an unknown flag, and before Linux 5.0; `EACCES` without CAP_SYS_ADMIN.
pub(crate) fn listen(number: c_long, flags: c_ulong) -> Result<OwnedFd> {
    let number = u32::try_from(number).map_err(|_| Errno::EINVAL)?;
    // Load the number, which is the first field; ask if it is equal, and allow otherwise.
    let mut filter = [
        sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        sock_filter { code: 0x15, jt: 0, jf: 1, k: number },
        sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_USER_NOTIF },
        sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its instructions are live.
    owned(unsafe { install(flags, &raw const program) })
}

/// The errno of seccomp(2) for a filter at no address, which installs nothing: `EFAULT`, or `EINVAL` for an unknown flag.
pub(crate) fn errno_without_filter(flags: c_ulong) -> Errno {
    // SAFETY: there is no memory to read, so the kernel refuses.
    let answer = unsafe { install(flags, std::ptr::null()) };
    Errno::result(answer).err().unwrap_or(Errno::UnknownErrno)
}

/// # Safety
/// `program` must be null, or point to a live program.
unsafe fn install(flags: c_ulong, program: *const sock_fprog) -> c_long {
    let flags = flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: the kernel reads the program and its instructions (see above).
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, program) }
}

/// Waits for a system call.
///
/// # Errors
/// As ioctl(2): `ENOENT` if the caller was killed meanwhile.
pub(crate) fn receive(listener: impl AsFd) -> Result<Call> {
    let mut call = Call::default();
    // SAFETY: the kernel writes a struct seccomp_notif to the live one, which is zeroed as the call demands.
    unsafe { notif_recv(listener.as_fd().as_raw_fd(), &raw mut call) }?;
    Ok(call)
}

/// Lets the system call happen, or fail with an errno.
///
/// # Errors
/// As ioctl(2): `ENOENT` if the caller was killed meanwhile.
pub(crate) fn answer(listener: impl AsFd, call: &Call, refused: Option<Errno>) -> Result<()> {
    let flags = if refused.is_none() { CONTINUE } else { 0 };
    let error = refused.map_or(0, |errno| -(errno as c_int));
    let mut response = Response { id: call.id, value: 0, error, flags };
    // SAFETY: the kernel reads a struct seccomp_notif_resp, which is live.
    unsafe { notif_send(listener.as_fd().as_raw_fd(), &raw mut response) }.map(drop)
}

/// Whether the call still waits for an answer.
///
/// # Errors
/// As ioctl(2).
pub(crate) fn still_waits(listener: impl AsFd, call: &Call) -> Result<bool> {
    // SAFETY: the kernel reads a live u64.
    match unsafe { notif_id_valid(listener.as_fd().as_raw_fd(), &raw const call.id) } {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
