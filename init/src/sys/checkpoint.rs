//! Calls that restore a process's attributes: kcmp(2), prctl(2) and timer_create(2).

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};
use nix::unistd::Pid;

use super::descriptor::owned;

/// Compares open files of two processes: 0 if both descriptors refer to the same open file, 1 or 2 by an order that the kernel
/// chooses. Linux 3.5; `CONFIG_KCMP`, before 5.12 `CONFIG_CHECKPOINT_RESTORE`.
///
/// # Errors
/// As kcmp(2): `ENOSYS`, `ESRCH`, `EPERM`, `EBADF`.
pub(crate) fn compare_files(one: (Pid, RawFd), other: (Pid, RawFd)) -> Result<i64> {
    const KCMP_FILE: c_int = 0;
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_kcmp, one.0.as_raw(), other.0.as_raw(), KCMP_FILE, one.1, other.1) })
}

/// Tells the kernel that the process's command line is this text, which must live as long as the process (prctl(2), `PR_SET_MM`).
///
/// # Errors
/// As prctl(2): `EPERM` without `CAP_SYS_RESOURCE`; `EINVAL` on a kernel without `CONFIG_CHECKPOINT_RESTORE`.
pub(crate) fn set_command_line(text: &'static [u8]) -> Result<()> {
    let range = text.as_ptr_range();
    let start = || set_mm(libc::PR_SET_MM_ARG_START, range.start as c_ulong);
    let end = || set_mm(libc::PR_SET_MM_ARG_END, range.end as c_ulong);
    // The kernel refuses a start behind the end, so the order depends on where the old command line is.
    if end().is_ok() { start() } else { start().and_then(|()| end()) }
}

fn set_mm(attribute: c_int, address: c_ulong) -> Result<()> {
    // SAFETY: the kernel checks the address, and reads it only for readers of /proc.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_MM, attribute, address, 0, 0) }).map(drop)
}

/// The size of the largest `struct prctl_mm_map` that the kernel takes (prctl(2), `PR_SET_MM_MAP_SIZE`).
///
/// # Errors
/// `EINVAL` on a kernel without `CONFIG_CHECKPOINT_RESTORE`.
pub(crate) fn mm_map_size() -> Result<u32> {
    let mut size: u32 = 0;
    // SAFETY: the kernel writes an unsigned int to a live one.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP_SIZE, &raw mut size, 0, 0) })?;
    Ok(size)
}

/// Lets timer_create(2) take the id of a new timer from its caller, or no longer (prctl(2), `PR_TIMER_CREATE_RESTORE_IDS`). Linux
/// 6.15.
///
/// # Errors
/// `EINVAL` on older kernels.
pub(crate) fn choose_timer_ids(choose: bool) -> Result<()> {
    const RESTORE_IDS: c_int = 77;
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::prctl(RESTORE_IDS, c_ulong::from(choose), 0, 0, 0) }).map(drop)
}

/// Creates a timer and deletes it; returns its id. The kernel reads `wanted` only after [`choose_timer_ids`].
///
/// # Errors
/// As timer_create(2): `EBUSY` if the id is in use.
pub(crate) fn timer_id(wanted: c_int) -> Result<c_int> {
    let mut id = wanted;
    let event = std::ptr::null::<libc::sigevent>();
    // SAFETY: the kernel reads and writes a live int; without a sigevent it reads nothing else.
    Errno::result(unsafe { libc::syscall(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, event, &raw mut id) })?;
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_timer_delete, id) })?;
    Ok(id)
}

/// Leaves the calling process these capabilities only, as a mask of the numbers in capabilities(7).
///
/// # Errors
/// As capset(2): `EPERM` for a capability that the process does not have.
pub(crate) fn keep_capabilities(mask: u64) -> Result<()> {
    // _LINUX_CAPABILITY_VERSION_3 of <linux/capability.h>, and 0 for the calling process.
    let header: [u32; 2] = [0x2008_0522, 0];
    let (low, high) = (mask & u64::from(u32::MAX), mask >> 32);
    // Effective, permitted and inheritable, for each half of the mask.
    let sets = [low, low, 0, high, high, 0].map(|half| u32::try_from(half).unwrap_or_default());
    // SAFETY: the kernel reads a header and, for this version, six integers, which are live.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) }).map(drop)
}

/// The number of registers that ptrace(2) knows.
const REGISTERS: usize = size_of::<libc::user_regs_struct>() / size_of::<u64>();

/// The registers as numbers, in the order of `struct user_regs_struct`.
pub(crate) fn to_words(registers: &libc::user_regs_struct) -> [u64; REGISTERS] {
    // SAFETY: the struct consists of numbers of 64 bits (sys/user.h), and the sizes are equal.
    unsafe { std::mem::transmute_copy(registers) }
}

/// The registers with these numbers.
pub(crate) fn from_words(words: [u64; REGISTERS]) -> libc::user_regs_struct {
    // SAFETY: as for `to_words`; every number is a valid field.
    unsafe { std::mem::transmute(words) }
}

/// Duplicates a descriptor to this number, which must not be in use by anything that is needed.
///
/// # Errors
/// As dup2(2).
pub(crate) fn replace_descriptor(fd: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    owned(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into())
}
