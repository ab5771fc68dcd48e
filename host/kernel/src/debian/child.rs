//! Runs one command to its end: its output line by line, bounded, and nothing of it left when the caller stops waiting.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;

use vmlab_qemu::spawn;

/// The most of standard output that is read, in bytes: the status lines of a download, or a few package descriptions.
const STDOUT_LIMIT: u64 = 16 << 20;

/// How many of the last lines of standard error are kept, and how much of each, in bytes.
const STDERR_LINES: usize = 64;
const STDERR_LINE_LIMIT: usize = 1024;

/// A longer line is handed over in parts, in bytes.
const LINE_LIMIT: u64 = 64 * 1024;

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    /// Its status.
    pub status: ExitStatus,
    /// The end of what it said on standard error.
    pub stderr: String,
}

/// How often, and how far apart, it is seen whether a child that was killed is gone: within a moment, unless the disk
/// holds it up.
const REAPS: u32 = 200;
const REAP_PAUSE: Duration = Duration::from_millis(5);

/// Kills the process group of a child that was not waited for.
struct KillGroup(Option<Pid>);

impl Drop for KillGroup {
    fn drop(&mut self) {
        let Some(group) = self.0 else { return };
        // ESRCH, the only failure there can be, says that nobody is left to kill.
        let _ = killpg(group, Signal::SIGKILL);
        // The runtime would reap it later, if it lived on; and what the child works on may be removed once it is gone.
        for _ in 0..REAPS {
            if !matches!(waitpid(group, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) {
                return;
            }
            thread::sleep(REAP_PAUSE);
        }
    }
}

/// Runs a command with no standard input and hands over each line of its standard output. Dropping the future kills the
/// command and its children.
///
/// # Errors
/// It could not be started or its output not be read.
pub async fn run(mut command: Command, mut on_line: impl FnMut(&str)) -> io::Result<Finished> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    spawn::die_with_parent(&mut command);
    let mut child = command.spawn()?;
    // With a group of its own the child is its leader, so its id is the group's.
    let mut guard = KillGroup(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read_stdout = async {
        if let Some(pipe) = stdout {
            each_line(pipe.take(STDOUT_LIMIT), &mut on_line).await?;
        }
        io::Result::Ok(())
    };
    let read_stderr = async {
        let mut last = VecDeque::new();
        if let Some(pipe) = stderr {
            let keep = |line: &str| {
                if last.len() == STDERR_LINES {
                    last.pop_front();
                }
                last.push_back(line.chars().take(STDERR_LINE_LIMIT).collect::<String>());
            };
            each_line(pipe, keep).await?;
        }
        io::Result::Ok(Vec::from(last).join("\n"))
    };
    let ((), stderr) = tokio::try_join!(read_stdout, read_stderr)?;
    let status = child.wait().await?;
    // Its id may belong to somebody else from here on.
    guard.0 = None;
    Ok(Finished { status, stderr })
}

async fn each_line(pipe: impl AsyncRead + Unpin, mut on_line: impl FnMut(&str)) -> io::Result<()> {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while (&mut reader).take(LINE_LIMIT).read_until(b'\n', &mut line).await? > 0 {
        on_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}
