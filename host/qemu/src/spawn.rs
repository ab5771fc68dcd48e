//! Child processes that do not outlive vmlab. Apart from `vmlab_report::stdio`, this is the host's only unsafe code.

use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, Command};

/// Has the kernel send SIGKILL to the child when the spawning thread ends, and puts the child into its own process
/// group. Signals from the terminal then reach only vmlab, and the child's children can be killed with it.
///
/// The signal is tied to the spawning thread and not to the process (prctl(2), `PR_SET_PDEATHSIG`): spawn from the
/// runtime's thread, never from `spawn_blocking`. Executing a set-user-ID program clears the setting.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = getpid();
    command.process_group(0);
    let in_child = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // If the parent died between the fork and the line above, no signal will be sent.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(Errno::ESRCH)) }
    };
    #[expect(unsafe_code, reason = "the standard library has no safe way to run code between fork and exec")]
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe calls are allowed. The
    // closure makes two system calls, prctl(2) and getppid(2), allocates nothing, takes no lock, and touches only its
    // copied capture.
    unsafe {
        command.pre_exec(in_child)
    }
}

/// Kills a child and its process group if the child was not reaped yet. The program given as QEMU may be a script that
/// runs QEMU as its child. The group's id is the child's PID, which may belong to another process after the child was
/// reaped.
///
/// # Errors
/// As killpg(3), except for a group that does not exist.
pub(crate) fn kill_group(child: &Child) -> io::Result<()> {
    match child.id().and_then(|id| i32::try_from(id).ok()).map(|id| killpg(Pid::from_raw(id), Signal::SIGKILL)) {
        None | Some(Ok(()) | Err(Errno::ESRCH)) => Ok(()),
        Some(Err(error)) => Err(error.into()),
    }
}

/// A child whose process group is killed on drop.
#[derive(Debug)]
pub struct Family(pub Child);

impl Drop for Family {
    fn drop(&mut self) {
        // tokio kills the child again and reaps it. A destructor cannot return other errors.
        let _ = kill_group(&self.0);
    }
}
