//! Kills all processes that a leg has left behind.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;

use crate::children::Children;
use crate::sys::process::reap;

/// The time limit for killed processes to end.
const LIMIT: Duration = Duration::from_secs(5);

/// Kills and reaps every process except PID 1 and the agent, in all namespaces. The error says why a process is left.
///
/// kill(-1) spares PID 1 and the caller (kill(2)), and kernel threads ignore it; all other processes come from the leg.
/// The sweep needs no feature that the scenarios test.
pub(super) fn sweep(children: &Children) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(format!("cannot kill the leg's remaining processes: {error}")),
        }
        loop {
            match reap(None, WaitPidFlag::WNOHANG) {
                Ok(None) => break,
                Ok(Some(_)) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(error) => return Err(format!("cannot reap the leg's remaining processes: {error}")),
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("SIGKILL did not end all processes of the leg within {} s", LIMIT.as_secs()));
        }
        children.wait(left)?;
    }
}
