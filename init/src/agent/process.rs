//! The process of a leg: its start, its time limit, and its end.

use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;
use vmlab_protocol::message::LegOutcome;

use super::allowance::Allowance;
use crate::children::Children;
use crate::sandbox;
use crate::sys::process::{fork_with, reap};

/// The maximum size of a leg's result, in bytes of JSON.
const RESULT_LIMIT: usize = 64 * 1024;

/// How the agent's wait for a leg's process ended.
pub(super) enum End {
    Reaped(sandbox::End),
    TimedOut,
    Lost(String),
}

/// A process that runs a leg, or waits for it, without a time limit yet.
pub(super) struct Started {
    pid: Pid,
    result: PipeReader,
}

impl Started {
    /// Starts a process that runs `leg` and reports its outcome.
    pub(super) fn start(leg: impl FnOnce() -> LegOutcome) -> Result<Self, String> {
        let (result, mut say) = io::pipe().map_err(|error| format!("pipe: {error}"))?;
        let pid = fork_with(|| {
            let json = serde_json::to_vec(&leg()).unwrap_or_default();
            u8::from(say.write_all(&json).is_err() || io::stdout().flush().is_err())
        })
        .map_err(|error| format!("fork: {error}"))?;
        super::output::set_nonblocking(&result)?;
        Ok(Self { pid, result })
    }

    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Gives it a time limit that begins now.
    pub(super) fn limited(self, limit_ms: u64) -> Process {
        let Self { pid, result } = self;
        let allowance = Allowance::new(Duration::from_millis(limit_ms), Instant::now());
        Process { pid, allowance, limit_ms, result: Some(result), received: Vec::new(), result_too_long: false }
    }
}

/// A leg's process, its time limit, and the pipe for its result.
pub(super) struct Process {
    pid: Pid,
    allowance: Allowance,
    limit_ms: u64,
    /// None after its end of file.
    result: Option<PipeReader>,
    received: Vec<u8>,
    result_too_long: bool,
}

impl Process {
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until one of `fds` is ready, tells which, and reads the result; or returns the end, if the process has ended or its
    /// time limit has passed.
    pub(super) fn wait(&mut self, children: &Children, fds: Vec<PollFd<'_>>) -> Result<Vec<bool>, End> {
        match reap(Some(self.pid), WaitPidFlag::WNOHANG) {
            Ok(None) | Err(Errno::EINTR) => {}
            Ok(Some((_, status))) => return Err(End::Reaped(status.into())),
            Err(error) => return Err(End::Lost(format!("waitpid: {error}"))),
        }
        let Some(wait) = self.allowance.next_wait(Instant::now()) else {
            return Err(match kill(self.pid, Signal::SIGKILL) {
                Ok(()) => End::TimedOut,
                Err(error) => End::Lost(format!("cannot kill the leg after its time limit: {error}")),
            });
        };
        let mut all = fds;
        all.extend(self.result.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let mut ready = children.wait_or(all, Some(wait)).map_err(End::Lost)?.fds;
        if self.result.is_some() && ready.pop() == Some(true) {
            self.read_result();
        }
        Ok(ready)
    }

    fn read_result(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.result {
            match pipe.read(&mut buffer) {
                Ok(0) => self.result = None,
                Ok(count) => {
                    let room = RESULT_LIMIT.saturating_sub(self.received.len()).min(count);
                    self.result_too_long |= room < count;
                    self.received.extend_from_slice(buffer.get(..room).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Without the result the outcome tells how the process ended.
                Err(_) => return,
            }
        }
    }

    /// The outcome, after the process has ended: what it reported before it exited with 0, or what `unreported` makes of its end
    /// and of what is wrong with its report.
    pub(super) fn outcome(
        mut self,
        end: End,
        unreported: impl FnOnce(sandbox::End, Option<&str>) -> LegOutcome,
    ) -> LegOutcome {
        self.read_result();
        let end = match end {
            End::TimedOut => return LegOutcome::TimedOut { limit_ms: self.limit_ms },
            End::Lost(detail) => return LegOutcome::Failed { detail },
            End::Reaped(end) => end,
        };
        if end != sandbox::End::Exited(0) || self.received.is_empty() {
            return unreported(end, None);
        }
        if self.result_too_long {
            return LegOutcome::Failed { detail: format!("the result exceeds {RESULT_LIMIT} bytes") };
        }
        serde_json::from_slice(&self.received).unwrap_or_else(|error| unreported(end, Some(&error.to_string())))
    }
}
