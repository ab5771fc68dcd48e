//! setdomainname(2).

use nix::Result;
use nix::errno::Errno;
use nix::libc;

/// Sets the NIS domain name of the calling process's UTS namespace.
///
/// # Errors
/// `EPERM`; `EINVAL` if `name` has more than 64 bytes.
pub(crate) fn setdomainname(name: &str) -> Result<()> {
    // SAFETY: the pointer and the length are those of a live string; the kernel only reads it and needs no NUL.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}
