//! Child processes that do not outlive vmlab. Beside `vmlab_report::stdio`, the only unsafe code of the host.

use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, Command};

/// Has the kernel send SIGKILL to the child when the thread that spawns it ends, however that happens, and puts the
/// child into a process group of its own: signals from the terminal reach vmlab alone, which then decides, and a
/// child's own children can be ended with it.
///
/// The signal is tied to the spawning thread, not to the process (prctl(2), `PR_SET_PDEATHSIG`): spawn from the thread
/// that runs the runtime, never from `spawn_blocking`. It is cleared when a set-user-ID program is executed.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = getpid();
    command.process_group(0);
    let in_child = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died between the fork and the line above; then nobody will send the signal any more.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(Errno::ESRCH)) }
    };
    #[expect(unsafe_code, reason = "the standard library has no safe way to run code between fork and exec")]
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe calls are allowed. It
    // makes two system calls, prctl(2) and getppid(2), allocates nothing, takes no lock, and touches only its copied
    // capture.
    unsafe {
        command.pre_exec(in_child)
    }
}

/// Kills a child and all that it has started, where it was not reaped yet: what was started as QEMU may be a script that
/// runs QEMU as its child. The group's number is the child's and belongs to it until it is reaped; after that nothing is
/// known to be ours.
///
/// # Errors
/// As killpg(3), but for a group that is gone.
pub fn kill_group(child: &Child) -> io::Result<()> {
    match child.id().and_then(|id| i32::try_from(id).ok()).map(|id| killpg(Pid::from_raw(id), Signal::SIGKILL)) {
        None | Some(Ok(()) | Err(Errno::ESRCH)) => Ok(()),
        Some(Err(error)) => Err(error.into()),
    }
}

/// A child whose whole group is killed when this is dropped, as where the work that needs it is given up.
#[derive(Debug)]
pub struct Family(pub Child);

impl Drop for Family {
    fn drop(&mut self) {
        // tokio kills the child itself once more and reaps it; there is nobody to tell of what else went wrong.
        let _ = kill_group(&self.0);
    }
}
