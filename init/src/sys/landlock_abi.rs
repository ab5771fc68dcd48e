//! Landlock (landlock(7)): the version of its interface, and rulesets without rules.

use std::os::fd::AsRawFd as _;

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_long, c_uint};

use super::pidfd::owned;

/// `LANDLOCK_ACCESS_FS_READ_FILE`.
pub(crate) const READ_FILE: u64 = 1 << 2;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`, Linux 6.12.
pub(crate) const SCOPE_ABSTRACT_UNIX: u64 = 1;
pub(crate) const SCOPE_SIGNAL: u64 = 1 << 1;

/// The version of the interface. Linux 5.13.
///
/// # Errors
/// `ENOSYS` without Landlock, `EOPNOTSUPP` if it is not enabled at boot.
pub(crate) fn abi() -> Result<c_long> {
    const VERSION: c_uint = 1;
    // SAFETY: with this flag the kernel takes no attributes, and the size must be 0.
    Errno::result(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0, VERSION) })
}

/// Denies the calling process these accesses to all files, and what is outside of these scopes. Needs `CAP_SYS_ADMIN` or
/// no_new_privs.
///
/// # Errors
/// As landlock_create_ruleset(2): `E2BIG` if there are scopes and the kernel knows none.
pub(crate) fn restrict(files: u64, scopes: u64) -> Result<()> {
    // handled_access_fs, handled_access_net and scoped; a kernel without the later ones wants a shorter struct.
    let attributes = [files, 0, scopes];
    let size = if scopes == 0 { 8 } else { 24 };
    // SAFETY: the kernel reads as many bytes as the size says, which are live.
    let ruleset = owned(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attributes.as_ptr(), size, 0) })?;
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) }).map(drop)
}
