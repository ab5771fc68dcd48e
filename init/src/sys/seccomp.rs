//! A seccomp(2) filter that asks a supervisor about one system call (seccomp_unotify(2)).

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_long, c_uint, c_ulong, sock_filter, sock_fprog};

use super::pidfd::owned;

/// Only a fatal signal interrupts a call that the supervisor has taken. Linux 5.19.
pub(crate) const WAIT_KILLABLE_RECV: c_ulong = 1 << 5;
const NEW_LISTENER: c_ulong = 1 << 3;
const SET_MODE_FILTER: c_uint = 1;

nix::ioctl_readwrite!(notif_recv, b'!', 0, libc::seccomp_notif);
nix::ioctl_write_ptr!(notif_id_valid, b'!', 2, u64);

/// Sends the calling process's calls of this number to a supervisor, who reads them from the descriptor. Linux 5.0; needs
/// `CAP_SYS_ADMIN`.
///
/// # Errors
/// As seccomp(2): `EINVAL` for an unknown flag.
pub(crate) fn notify_about(call: c_long, flags: c_ulong) -> Result<OwnedFd> {
    let step = |code: c_uint, jt, jf, k| -> Result<sock_filter> {
        Ok(sock_filter { code: u16::try_from(code).map_err(|_| Errno::EINVAL)?, jt, jf, k })
    };
    let number = u32::try_from(call).map_err(|_| Errno::EINVAL)?;
    let mut filter = [
        // The number of the call, at offset 0 of seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)?,
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number)?,
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF)?,
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW)?,
    ];
    let program = sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel reads a program of as many steps as it says; both live until the call returns.
    owned(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags | NEW_LISTENER, &raw const program) })
}

/// The errno of seccomp(2) for a filter at no address, which installs nothing: `EFAULT`, or `EINVAL` for an unknown flag.
pub(crate) fn errno_without_filter(flags: c_ulong) -> Errno {
    let program = std::ptr::null::<sock_fprog>();
    // SAFETY: there is no memory to read, so the kernel refuses.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags | NEW_LISTENER, program) };
    Errno::result(answer).err().unwrap_or(Errno::UnknownErrno)
}

/// Takes the next call; returns its id. Waits until there is one.
///
/// # Errors
/// As ioctl(2): `ENOENT` if the calling process was killed.
pub(crate) fn take(listener: impl AsFd) -> Result<u64> {
    // SAFETY: seccomp_notif is plain data, for which zeros are valid.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes a seccomp_notif to a live one, which is zeroed, as it demands.
    unsafe { notif_recv(listener.as_fd().as_raw_fd(), &raw mut call) }?;
    Ok(call.id)
}

/// Whether the call still waits for an answer.
///
/// # Errors
/// As ioctl(2).
pub(crate) fn still_waits(listener: impl AsFd, id: u64) -> Result<bool> {
    // SAFETY: the kernel reads a live u64.
    match unsafe { notif_id_valid(listener.as_fd().as_raw_fd(), &raw const id) } {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
