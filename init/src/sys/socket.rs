//! Socket options that are a number (socket(7), tcp(7)).

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_void, socklen_t};

use super::descriptor::owned;

/// # Errors
/// As setsockopt(2): `ENOPROTOOPT` for an unknown option, `EPERM`, `EINVAL`.
pub(crate) fn set_option(socket: impl AsFd, level: c_int, option: c_int, value: u32) -> Result<()> {
    set_bytes(socket, level, option, &value.to_ne_bytes())
}

/// Sets an option that is a structure without pointers.
///
/// # Errors
/// As [`set_option`].
pub(crate) fn set_bytes(socket: impl AsFd, level: c_int, option: c_int, value: &[u8]) -> Result<()> {
    let length = socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads `length` bytes, which are live.
    Errno::result(unsafe { libc::setsockopt(fd, level, option, value.as_ptr().cast::<c_void>(), length) }).map(drop)
}

/// # Errors
/// As getsockopt(2): `ENOPROTOOPT` for an unknown option.
pub(crate) fn option(socket: impl AsFd, level: c_int, option: c_int) -> Result<u32> {
    let mut value = [0; 4];
    option_bytes(socket, level, option, &mut value)?;
    Ok(u32::from_ne_bytes(value))
}

/// Reads an option that is a structure. Returns the length that the kernel wrote.
///
/// # Errors
/// As getsockopt(2).
pub(crate) fn option_bytes(socket: impl AsFd, level: c_int, option: c_int, value: &mut [u8]) -> Result<usize> {
    let mut length = socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    let fd = socket.as_fd().as_raw_fd();
    let (to, size) = (value.as_mut_ptr().cast::<c_void>(), &raw mut length);
    // SAFETY: the kernel writes at most `length` bytes to the live buffer, and the length to a live number.
    Errno::result(unsafe { libc::getsockopt(fd, level, option, to, size) })?;
    usize::try_from(length).map_err(|_| Errno::EOVERFLOW)
}

/// Reads an option whose value is a new descriptor.
///
/// # Errors
/// As getsockopt(2).
pub(crate) fn option_fd(socket: impl AsFd, level: c_int, number: c_int) -> Result<OwnedFd> {
    owned(option(socket, level, number)?.cast_signed().into())
}

/// Receives a message of one byte. Returns the pidfd that came with it, if any (`SCM_PIDFD`).
///
/// # Errors
/// As recvmsg(2).
pub(crate) fn received_pidfd(socket: impl AsFd) -> Result<Option<OwnedFd>> {
    const SCM_PIDFD: c_int = 4;
    let (mut byte, mut control) = (0_u8, [0_u64; 8]);
    let mut data = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: msghdr is plain data, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut data, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
    // SAFETY: the kernel writes to the byte and the control buffer, which are live, at most their lengths.
    Errno::result(unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) })?;
    // SAFETY: the kernel has set the length of the control messages, which are in the live, aligned buffer.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let pidfd = first.filter(|header| (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, SCM_PIDFD));
    Ok(pidfd.map(|header| {
        // SAFETY: a control message of this type has a descriptor, which is new and which nothing else owns.
        unsafe { OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<c_int>().read_unaligned()) }
    }))
}
