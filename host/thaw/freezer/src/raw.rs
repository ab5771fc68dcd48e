//! Requests of ptrace(2) and system calls for which nix has no function.
#![expect(unsafe_code, reason = "the kernel writes to addresses that are passed as numbers")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;
use vmlab_thaw_image::xstate;

/// `NT_X86_XSTATE` of include/uapi/linux/elf.h
const NT_X86_XSTATE: usize = 0x202;
/// `PTRACE_GET_RSEQ_CONFIGURATION` (Linux 5.13).
const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;

/// Takes a descriptor that this process has inherited, and keeps it from its children.
pub(crate) fn own(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl(2) with F_SETFD touches no memory.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and this process, which has just begun, has not used it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Keeps all descriptors from children but the standard streams and these.
pub(crate) fn close_on_exec(passed: &[u32]) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let flags = if number < 3 || passed.contains(&number) { 0 } else { libc::FD_CLOEXEC };
        // SAFETY: fcntl(2) with F_SETFD touches no memory. The directory's own descriptor is closed on exec as well.
        if unsafe { libc::fcntl(number.cast_signed(), libc::F_SETFD, flags) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The extended state of a stopped thread, as a signal frame has it.
pub(crate) fn extended_state(thread: Pid) -> nix::Result<Vec<u8>> {
    let mut state = vec![0_u8; xstate::LIMIT];
    // The kernel wants a multiple of 8.
    let mut place = libc::iovec { iov_base: state.as_mut_ptr().cast(), iov_len: state.len() - 64 };
    // SAFETY: the kernel writes at most `iov_len` bytes to the buffer, and the number of bytes to `place`.
    let done = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, thread.as_raw(), NT_X86_XSTATE, &raw mut place) };
    Errno::result(done)?;
    let length = xstate::to_signal_frame(&mut state, place.iov_len).ok_or(Errno::EOVERFLOW)?;
    state.truncate(length);
    Ok(state)
}

/// The signals that a stopped thread blocks.
pub(crate) fn signal_mask(thread: Pid) -> nix::Result<u64> {
    let mut mask = 0_u64;
    // SAFETY: the kernel writes 8 bytes to `mask`.
    let done = unsafe { libc::ptrace(libc::PTRACE_GETSIGMASK, thread.as_raw(), size_of::<u64>(), &raw mut mask) };
    Errno::result(done).map(|_| mask)
}

/// `struct ptrace_rseq_configuration` of include/uapi/linux/ptrace.h
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rseq {
    pub(crate) address: u64,
    pub(crate) bytes: u32,
    pub(crate) signature: u32,
    flags: u32,
    reserved: u32,
}

/// The area for restartable sequences of a stopped thread.
pub(crate) fn rseq(thread: Pid) -> nix::Result<Rseq> {
    let mut rseq = MaybeUninit::<Rseq>::zeroed();
    // SAFETY: the kernel writes at most so many bytes to `rseq`.
    let done =
        unsafe { libc::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, thread.as_raw(), size_of::<Rseq>(), rseq.as_mut_ptr()) };
    Errno::result(done)?;
    // SAFETY: all fields are numbers, for which zeros are valid, and the kernel has written over them.
    Ok(unsafe { rseq.assume_init() })
}

/// The address and the size of a thread's list of robust mutexes.
pub(crate) fn robust_list(thread: Pid) -> nix::Result<(u64, u64)> {
    let (mut head, mut bytes) = (0_u64, 0_u64);
    // SAFETY: the kernel writes 8 bytes to each.
    let done = unsafe { libc::syscall(libc::SYS_get_robust_list, thread.as_raw(), &raw mut head, &raw mut bytes) };
    Errno::result(done).map(|_| (head, bytes))
}

/// Whether two descriptors of a process are of the same open file (kcmp(2)).
pub(crate) fn is_same_file(process: Pid, one: u32, other: u32) -> nix::Result<bool> {
    const KCMP_FILE: libc::c_int = 0;
    let process = process.as_raw();
    // SAFETY: kcmp(2) touches no memory.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, process, process, KCMP_FILE, one, other) };
    Errno::result(order).map(|order| order == 0)
}
