//! Landlock (landlock(7)): a process takes rights away from itself and its later children.

use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc;

use super::descriptor::owned;

/// `LANDLOCK_ACCESS_FS_READ_FILE`.
pub(crate) const READ_FILE: u64 = 1 << 2;
/// `LANDLOCK_ACCESS_NET_BIND_TCP`. Version 4 of the interface, Linux 6.7.
pub(crate) const BIND_TCP: u64 = 1;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`. Version 6, Linux 6.12.
pub(crate) const SCOPE_ABSTRACT_UNIX: u64 = 1;
pub(crate) const SCOPE_SIGNAL: u64 = 1 << 1;

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_NET_PORT: libc::c_int = 2;

/// The rights that a ruleset handles: those are taken away, except where a rule gives them. Zero means none.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Handled {
    /// `LANDLOCK_ACCESS_FS_*`.
    pub(crate) files: u64,
    /// `LANDLOCK_ACCESS_NET_*`. Version 4.
    pub(crate) network: u64,
    /// `LANDLOCK_SCOPE_*`. Version 6.
    pub(crate) scoped: u64,
}

/// `struct landlock_net_port_attr`.
#[repr(C)]
struct NetPort {
    access: u64,
    port: u64,
}

/// The version of the interface. Linux 5.13.
///
/// # Errors
/// As landlock_create_ruleset(2): `ENOSYS`; `EOPNOTSUPP` if Landlock is not among the active security modules.
pub(crate) fn version() -> Result<i64> {
    let (nothing, size) = (std::ptr::null::<Handled>(), 0_usize);
    // SAFETY: with this flag the kernel reads nothing.
    Errno::result(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, size, CREATE_RULESET_VERSION) })
}

/// A set of rights to keep.
#[derive(Debug)]
pub(crate) struct Ruleset(OwnedFd);

impl Ruleset {
    /// # Errors
    /// As landlock_create_ruleset(2): `E2BIG` for rights that this version does not know, `EINVAL`, `ENOMSG`.
    pub(crate) fn new(handled: Handled) -> Result<Self> {
        let call = libc::SYS_landlock_create_ruleset;
        // SAFETY: the kernel reads the structure, which is live. Zeros at its end are allowed on kernels that know less.
        owned(unsafe { libc::syscall(call, &raw const handled, size_of::<Handled>(), 0) }).map(Self)
    }

    /// Keeps these rights for a port.
    ///
    /// # Errors
    /// As landlock_add_rule(2): `EINVAL`, `EAFNOSUPPORT`.
    pub(crate) fn allow_port(&self, access: u64, port: u16) -> Result<()> {
        let rule = NetPort { access, port: u64::from(port) };
        let call = libc::SYS_landlock_add_rule;
        // SAFETY: the kernel reads the structure, which is live.
        let done = unsafe { libc::syscall(call, self.0.as_raw_fd(), RULE_NET_PORT, &raw const rule, 0) };
        Errno::result(done).map(drop)
    }

    /// Takes the rights away from the calling thread, which must have CAP_SYS_ADMIN or have set `PR_SET_NO_NEW_PRIVS`.
    ///
    /// # Errors
    /// As landlock_restrict_self(2): `EPERM`, `E2BIG` after 16 rulesets.
    pub(crate) fn restrict_self(&self) -> Result<()> {
        // SAFETY: the call takes no pointers.
        let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) };
        Errno::result(done).map(drop)
    }
}
