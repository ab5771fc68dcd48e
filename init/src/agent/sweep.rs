//! Ending everything that a leg has left behind.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::children::Children;

/// How long killed processes may take to end.
const LIMIT: Duration = Duration::from_secs(5);

/// Kills every process but PID 1 and the agent, in all namespaces, and reaps them. The error says that some would not go.
///
/// The guest holds nothing but PID 1, the agent and what the leg has made; kill(-1) spares the first two (kill(2)) and
/// kernel threads ignore it. No feature that the scenarios test is needed for it.
pub(super) fn sweep(children: &Children) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(format!("cannot kill what is left: {error}")),
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(error) => return Err(format!("cannot reap what is left: {error}")),
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("processes were left that SIGKILL did not end within {} s", LIMIT.as_secs()));
        }
        children.wait(left)?;
    }
}
