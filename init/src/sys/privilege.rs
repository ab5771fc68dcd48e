//! Capabilities, secure bits, priorities, keyrings and other properties of a process's credentials.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::Result;
use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

use super::descriptor::owned;

/// `struct __user_cap_header_struct` of <linux/capability.h>.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct` of <linux/capability.h>; the kernel takes two.
#[repr(C)]
#[derive(Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `CAP_SETFCAP` of <linux/capability.h>: set capabilities of files, and map user 0 of the parent user namespace.
pub(crate) const CAP_SETFCAP: u32 = 31;

/// Removes a capability below 32 from the calling process's sets.
///
/// # Errors
/// As capset(2).
pub(crate) fn drop_capability(capability: u32) -> Result<()> {
    // _LINUX_CAPABILITY_VERSION_3
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut sets: [Sets; 2] = Default::default();
    // SAFETY: the kernel reads a live header and writes two live structs.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) })?;
    let keep = !1_u32.checked_shl(capability).ok_or(Errno::EINVAL)?;
    let [low, _] = &mut sets;
    low.effective &= keep;
    low.permitted &= keep;
    low.inheritable &= keep;
    // SAFETY: the kernel reads a live header and two live structs.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) }).map(drop)
}

/// `SECBIT_EXEC_RESTRICT_FILE` of <linux/securebits.h>, Linux 6.14.
pub(crate) const SECBIT_EXEC_RESTRICT_FILE: i32 = 1 << 8;

/// Sets the secure bits of the calling process (capabilities(7)).
///
/// # Errors
/// As prctl(2), `PR_SET_SECUREBITS`: `EPERM`, also for bits that the kernel does not know.
pub(crate) fn set_secure_bits(bits: i32) -> Result<()> {
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0) }).map(drop)
}

/// The secure bits of the calling process.
///
/// # Errors
/// As prctl(2).
pub(crate) fn secure_bits() -> Result<i32> {
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) })
}

/// The lowest nice value of a user's processes (getpriority(2), `PRIO_USER`).
///
/// # Errors
/// `ESRCH` if the user has no process that the caller sees.
pub(crate) fn nice_of_user(user: u32) -> Result<i32> {
    // SAFETY: the call takes no pointers.
    let value = Errno::result(unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_USER, user) })?;
    // The system call returns 20 minus the nice value, so that it is never negative.
    i32::try_from(20 - value).map_err(|_| Errno::EOVERFLOW)
}

/// Sets the nice value of the calling process.
///
/// # Errors
/// As setpriority(2): `EACCES` for a lower value without `CAP_SYS_NICE`.
pub(crate) fn set_nice(nice: i32) -> Result<()> {
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice) }).map(drop)
}

/// Sets `RLIMIT_NOFILE` of a process.
///
/// # Errors
/// As prlimit(2): `ESRCH` if the caller's PID namespace has no such process.
pub(crate) fn limit_files(process: Pid, soft: u64, hard: u64) -> Result<()> {
    let limits = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads a live rlimit; the old limits are not asked for.
    Errno::result(unsafe {
        libc::prlimit(process.as_raw(), libc::RLIMIT_NOFILE, &raw const limits, std::ptr::null_mut())
    })
    .map(drop)
}

/// Joins the session keyring with this name, or creates one, and returns its id (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`).
///
/// # Errors
/// `ENOSYS` without CONFIG_KEYS.
pub(crate) fn join_keyring(name: &CStr) -> Result<i32> {
    let join = 1;
    // SAFETY: the kernel reads a NUL-terminated name.
    let id = Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, join, name.as_ptr(), 0, 0, 0) })?;
    i32::try_from(id).map_err(|_| Errno::EOVERFLOW)
}

/// Gives possessor and owner all permissions on a key (keyctl(2), `KEYCTL_SETPERM`).
///
/// # Errors
/// As keyctl(2): `EACCES`.
pub(crate) fn open_key(id: i32) -> Result<()> {
    let (set_permissions, permissions) = (5, 0x3f3f_0000);
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, set_permissions, id, permissions, 0, 0) }).map(drop)
}

/// userfaultfd(2) without flags.
///
/// # Errors
/// `EPERM` if the caller may not handle the faults of the kernel; `ENOSYS` without CONFIG_USERFAULTFD.
pub(crate) fn user_fault_fd() -> Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    owned(unsafe { libc::syscall(libc::SYS_userfaultfd, 0) })
}

/// Makes uname(2) of the calling process report a machine of 32 bits (personality(2), `PER_LINUX32`).
///
/// # Errors
/// As personality(2).
pub(crate) fn appear_as_32_bit() -> Result<()> {
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::personality(8) }).map(drop)
}

/// Sets the length of the kernel's tick to its present value (adjtimex(2)): changes nothing, and needs `CAP_SYS_TIME`.
///
/// # Errors
/// As adjtimex(2): `EPERM`.
pub(crate) fn adjust_nothing() -> Result<()> {
    // SAFETY: timex is plain data, for which zeros are valid; the mode 0 only reads.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads and writes a live timex.
    Errno::result(unsafe { libc::adjtimex(&raw mut state) })?;
    state.modes = libc::ADJ_TICK;
    // SAFETY: the kernel reads and writes a live timex.
    Errno::result(unsafe { libc::adjtimex(&raw mut state) }).map(drop)
}
