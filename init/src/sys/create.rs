//! clone(2) and clone3(2) with namespace flags.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::unistd::Pid;

/// Clones with these flags; the child or thread ends at once. Nothing may depend on which of the two it is.
///
/// # Errors
/// As clone(2): `EINVAL` for a combination of flags that the kernel refuses.
pub(crate) fn clone_and_end(flags: u64) -> Result<Pid> {
    let flags = CloneFlags::from_bits_retain(i32::from_ne_bytes(lower_half(flags)));
    let mut stack = vec![0; 64 << 10];
    // SAFETY: the child has its own stack and returns at once. With CLONE_VM it runs while the parent's memory is unchanged only
    // if the parent waits; the stack is leaked then, so that it stays.
    let child = unsafe { clone(Box::new(|| 0), &mut stack, flags, Some(libc::SIGCHLD)) };
    if child.is_ok() && flags.contains(CloneFlags::CLONE_VM) {
        std::mem::forget(stack);
    }
    child
}

const fn lower_half(flags: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = flags.to_ne_bytes();
    [a, b, c, d]
}

/// Starts a second thread of the calling process that sleeps until the process ends. The process must not fork after it.
///
/// # Errors
/// As clone(2): `EAGAIN`, `ENOMEM`.
pub(crate) fn add_idle_thread() -> Result<()> {
    let flags = CloneFlags::CLONE_VM
        | CloneFlags::CLONE_FS
        | CloneFlags::CLONE_FILES
        | CloneFlags::CLONE_SIGHAND
        | CloneFlags::CLONE_THREAD;
    let stack = Box::leak(vec![0; 64 << 10].into_boxed_slice());
    let idle = Box::new(|| {
        loop {
            // SAFETY: the call takes no arguments and touches no memory.
            unsafe { libc::syscall(libc::SYS_pause) };
        }
    });
    // SAFETY: the thread has its own stack, which is never freed, and only sleeps: it touches no memory of the other thread.
    unsafe { clone(idle, stack, flags, None) }.map(drop)
}

/// Forks with clone(2) and these bits in place of flags and exit signal, as a program would do that knows no clone3(2). The child runs
/// `child` and exits with the returned code.
///
/// # Errors
/// As clone(2).
pub(crate) fn fork_with_clone(flags: u64, child: impl FnOnce() -> u8) -> Result<Pid> {
    // SAFETY: without CLONE_VM this is fork(2), and the process has one thread. The pointers are not read without their flags.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    finish(pid, child)
}

/// The fields of `struct clone_args` of <linux/sched.h> that Linux 5.3 has.
#[repr(C)]
#[derive(Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Forks with clone3(2) and these flags, which must not contain `CLONE_VM`. The child runs `child` and exits with the returned code.
///
/// # Errors
/// As clone3(2): `ENOSYS` before Linux 5.3, `EINVAL` for an unknown flag or a combination that the kernel refuses.
pub(crate) fn fork_with_clone3(flags: u64, child: impl FnOnce() -> u8) -> Result<Pid> {
    let arguments = Arguments { flags, exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()), ..Arguments::default() };
    // SAFETY: the kernel reads live arguments of their size; without CLONE_VM this is fork(2), and the process has one thread.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<Arguments>()) })?;
    finish(pid, child)
}

fn finish(pid: libc::c_long, child: impl FnOnce() -> u8) -> Result<Pid> {
    if pid == 0 {
        let code = child();
        // SAFETY: _exit(2) ends the process at once and touches no memory.
        unsafe { libc::_exit(i32::from(code)) }
    }
    libc::pid_t::try_from(pid).map(Pid::from_raw).map_err(|_| Errno::EOVERFLOW)
}

/// A pidfd of a process, for setns(2). Linux 5.3.
///
/// # Errors
/// As pidfd_open(2): `ENOSYS`, `ESRCH`.
pub(crate) fn pidfd_of(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just opened the descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

// PIDFD_GET_UTS_NAMESPACE of <linux/pidfd.h>.
const PIDFD_GET_UTS_NAMESPACE: libc::Ioctl = nix::request_code_none!(0xff, 10);

/// The UTS namespace of a pidfd's process. Linux 6.11.
///
/// # Errors
/// `ENOTTY` on older kernels, `ESRCH` if the process has ended.
pub(crate) fn uts_namespace_of(pidfd: &OwnedFd) -> Result<std::fs::File> {
    // SAFETY: the argument is no pointer; the kernel wants 0.
    let fd = Errno::result(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_UTS_NAMESPACE, 0) })?;
    // SAFETY: the kernel has just opened the descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

/// A copy of another process's descriptor (pidfd_getfd(2)). Linux 5.6.
///
/// # Errors
/// As pidfd_getfd(2): `ENOSYS`, `EBADF`, `EPERM`.
pub(crate) fn descriptor_of(pid: Pid, descriptor: i32) -> Result<OwnedFd> {
    let pidfd = pidfd_of(pid)?;
    // SAFETY: the call takes no pointers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), descriptor, 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just opened the descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
