//! Runs a command: reads its output line by line and bounded, and kills it with its children when the caller stops
//! waiting.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::spawn::{Family, Offspring};

/// The limit of standard output, in bytes. Commands print the status lines of a download or a few package descriptions.
const STDOUT_LIMIT: u64 = 16 << 20;

/// The number of last lines of standard error that are kept.
const STDERR_LINES: usize = 64;
/// The length to which these lines are cut, in bytes.
const STDERR_LINE_LIMIT: usize = 1024;

/// Longer lines are split, in bytes.
const LINE_LIMIT: u64 = 64 * 1024;

/// A finished command.
#[derive(Debug)]
pub struct Finished {
    /// The exit status.
    pub status: ExitStatus,
    /// The last lines of standard error.
    pub stderr: String,
}

/// The number of checks, and the pause between them, for the end of a killed child. The child ends within a moment
/// unless it waits for the disk.
const REAPS: u32 = 200;
const REAP_PAUSE: Duration = Duration::from_millis(5);

/// Kills a child with all its descendants if the caller stops waiting for it.
struct KillFamily(Family);

impl Drop for KillFamily {
    fn drop(&mut self) {
        // The process group is gone if the child has ended, and its descendants are found by their marks.
        let _ = self.0.kill();
        // The caller may remove the child's files after this, so wait until the child has ended. The runtime would reap
        // it later.
        for _ in 0..REAPS {
            if self.0.child.id().is_none() || !matches!(self.0.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(REAP_PAUSE);
        }
    }
}

/// Runs a command without standard input and passes each line of its standard output to `on_line`. Dropping the future
/// kills the command and its children.
///
/// # Errors
/// The command cannot be started, or its output cannot be read.
pub async fn run(mut command: Command, mut on_line: impl FnMut(&str)) -> io::Result<Finished> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // apt and dpkg-deb start others, which would go on writing.
    let mut family = KillFamily(Family::spawn(&mut command, Offspring::Any)?);
    let KillFamily(Family { child, .. }) = &mut family;
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
    Ok(Finished { status: child.wait().await?, stderr })
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
