//! Creates processes and threads with clone3(2) and clone(2).

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};
use nix::unistd::Pid;

use super::process::reap_any;

/// Flags of <linux/sched.h> that do not fit into the 32 bits of clone(2).
pub(crate) const CLEAR_SIGHAND: u64 = 1 << 32;
const INTO_CGROUP: u64 = 1 << 33;
pub(crate) const AUTOREAP: u64 = 1 << 34;
pub(crate) const NNP: u64 = 1 << 35;
pub(crate) const PIDFD_AUTOKILL: u64 = 1 << 36;
/// A flag of clone3(2) and unshare(2), which clone(2) takes for a part of the exit signal.
pub(crate) const NEWTIME: u64 = 0x80;
const PIDFD: u64 = 0x1000;

/// How to create a process. Without flags, as fork(2) does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clone3<'a> {
    pub(crate) flags: u64,
    /// The PIDs of the child, the first in the innermost PID namespace. Linux 5.5.
    pub(crate) set_tid: &'a [i32],
    /// The directory of the child's cgroup. Linux 5.7.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

impl Clone3<'_> {
    /// With these flags, and otherwise as fork(2) does.
    pub(crate) const fn with(flags: u64) -> Self {
        Self { flags, set_tid: &[], cgroup: None }
    }

    /// Creates a process that runs `child` and exits with its code. Returns the process and a pidfd of it.
    ///
    /// # Errors
    /// As clone3(2): `ENOSYS`; `E2BIG` if the kernel's arguments are shorter; `EINVAL` for an unknown flag and a PID that cannot
    /// be; `EEXIST` for a PID in use; `EPERM`.
    pub(crate) fn fork_with(&self, child: impl FnOnce() -> u8) -> Result<(Pid, OwnedFd)> {
        let mut pidfd: c_int = -1;
        let exit_signal = if self.flags & AUTOREAP == 0 { libc::SIGCHLD.unsigned_abs() } else { 0 };
        let into = if self.cgroup.is_some() { INTO_CGROUP } else { 0 };
        let arguments = libc::clone_args {
            flags: self.flags | PIDFD | into,
            pidfd: (&raw mut pidfd) as u64,
            child_tid: 0,
            parent_tid: 0,
            exit_signal: exit_signal.into(),
            stack: 0,
            stack_size: 0,
            tls: 0,
            set_tid: if self.set_tid.is_empty() { 0 } else { self.set_tid.as_ptr() as u64 },
            set_tid_size: self.set_tid.len() as u64,
            cgroup: self.cgroup.map_or(0, |dir| u64::from(dir.as_raw_fd().unsigned_abs())),
        };
        // SAFETY: the arguments are live and of the size given, and so is all that they point to. Without CLONE_VM and a stack
        // the call returns twice, as fork(2). No process that forks has a second thread, so the child may call any function.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
        let pid = parent_only(pid, child)?;
        // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor, which nothing else owns.
        Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
    }
}

/// The errno of clone3(2) for arguments of no size, which creates no process: `ENOSYS` if the kernel has no such call, else
/// `EINVAL`.
pub(crate) fn errno_without_arguments() -> Errno {
    // SAFETY: a size of 0 is refused before the kernel reads anything.
    let answer = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<libc::clone_args>(), 0) };
    Errno::result(answer).err().unwrap_or(Errno::UnknownErrno)
}

/// Creates a process by clone(2) with these flags, whose lowest 8 bits are the signal to the parent. The child runs `child` and
/// exits with its code.
///
/// # Errors
/// As clone(2).
pub(crate) fn legacy_clone(flags: u64, child: impl FnOnce() -> u8) -> Result<Pid> {
    // SAFETY: without CLONE_VM and a stack the call returns twice, as fork(2). No process that forks has a second thread, so
    // the child may call any function.
    parent_only(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }, child)
}

/// In the child, runs `child` and ends; in the parent, returns the PID.
fn parent_only(pid: c_long, child: impl FnOnce() -> u8) -> Result<Pid> {
    if pid == 0 {
        let code = child();
        // SAFETY: _exit(2) ends the process at once and touches no memory.
        unsafe { libc::_exit(i32::from(code)) }
    }
    Ok(Pid::from_raw(i32::try_from(Errno::result(pid)?).map_err(|_| Errno::EOVERFLOW)?))
}

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

/// Starts a second thread of the calling process that sleeps until the process ends; returns its thread id. The process must not
/// fork after it.
///
/// # Errors
/// As clone(2): `EAGAIN`, `ENOMEM`.
pub(crate) fn add_idle_thread() -> Result<Pid> {
    let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    clone(sleep_for_ever, u64::from(flags.cast_unsigned()))
}

/// Executes a program without arguments and environment whose standard output is this descriptor. Returns only if that fails.
pub(crate) fn execute(program: &CStr, output: BorrowedFd<'_>) -> Errno {
    let arguments = [program.as_ptr(), std::ptr::null()];
    // SAFETY: the kernel reads a NUL-terminated path and an array that ends with a null pointer. An environment may be absent.
    match Errno::result(unsafe { libc::dup2(output.as_raw_fd(), libc::STDOUT_FILENO) }) {
        Ok(_) => {
            // SAFETY: as above.
            unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), std::ptr::null()) };
            Errno::last()
        }
        Err(errno) => errno,
    }
}

/// Starts a program as [`execute`] does, in a process that has its parent's memory until then, as that of vfork(2).
///
/// # Errors
/// As clone(2) and execve(2).
pub(crate) fn vfork_and_execute(program: &CStr, output: BorrowedFd<'_>) -> Result<Pid> {
    struct Order<'a> {
        program: &'a CStr,
        output: BorrowedFd<'a>,
        failed: Cell<Option<Errno>>,
    }
    extern "C" fn run(order: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the parent, which waits in clone(2), has the value, and reads it only afterwards.
        let order = unsafe { &*order.cast::<Order<'_>>() };
        order.failed.set(Some(execute(order.program, order.output)));
        1
    }
    let order = Order { program, output, failed: Cell::new(None) };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child has a stack of its own. It shares the other memory with this process, which waits until the child has
    // executed the program or ended.
    let pid = unsafe { libc::clone(run, end_of_new_stack(), flags, (&raw const order).cast_mut().cast()) };
    let child = Errno::result(pid).map(Pid::from_raw)?;
    match order.failed.get() {
        Some(errno) => reap_any(child).and(Err(errno)),
        None => Ok(child),
    }
}

fn clone(child: extern "C" fn(*mut libc::c_void) -> libc::c_int, flags: u64) -> Result<Pid> {
    let flags = libc::c_int::try_from(flags).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the child has a stack of its own that is never freed, and its function touches no other memory. Only a signal, which
    // nobody sends, would let pause(2) write to errno, which a thread shares with its parent here.
    let pid = unsafe { libc::clone(child, end_of_new_stack(), flags, std::ptr::null_mut()) };
    Errno::result(pid).map(Pid::from_raw)
}
