//! Socket options that are a number (socket(7), tcp(7)).

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_void, socklen_t};

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
    let fd = option(socket, level, number)?.cast_signed();
    // SAFETY: the callers name options that return a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
