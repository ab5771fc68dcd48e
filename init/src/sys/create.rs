//! clone(2) and clone3(2) with namespace flags.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

/// In bytes; for a function that calls nothing but the kernel.
const STACK_SIZE: usize = 64 << 10;

/// The end of a new stack that is never freed, because a thread may still use it.
fn end_of_new_stack() -> *mut libc::c_void {
    // An array of 16 bytes is a unit of the stack's alignment.
    let stack: &'static mut [u128] = Box::leak(vec![0_u128; STACK_SIZE / size_of::<u128>()].into_boxed_slice());
    stack.as_mut_ptr_range().end.cast()
}

extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
    0
}

extern "C" fn sleep_for_ever(_: *mut libc::c_void) -> libc::c_int {
    loop {
        // SAFETY: the call takes no arguments.
        unsafe { libc::pause() };
    }
}

/// Clones with these flags; the child, which is a process or a thread, ends at once.
///
/// # Errors
/// As clone(2): `EINVAL` for a combination of flags that the kernel refuses.
pub(crate) fn clone_and_end(flags: u64) -> Result<Pid> {
    clone(end, flags | u64::from(libc::SIGCHLD.cast_unsigned()))
}

/// Starts a second thread of the calling process that sleeps until the process ends. The process must not fork after it.
///
/// # Errors
/// As clone(2): `EAGAIN`, `ENOMEM`.
pub(crate) fn add_idle_thread() -> Result<()> {
    let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    clone(sleep_for_ever, u64::from(flags.cast_unsigned())).map(drop)
}

fn clone(child: extern "C" fn(*mut libc::c_void) -> libc::c_int, flags: u64) -> Result<Pid> {
    let flags = libc::c_int::try_from(flags).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the child has a stack of its own that is never freed, and its function touches no other memory. Only a signal, which
    // nobody sends, would let pause(2) write to errno, which a thread shares with its parent here.
    let pid = unsafe { libc::clone(child, end_of_new_stack(), flags, std::ptr::null_mut()) };
    Errno::result(pid).map(Pid::from_raw)
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
