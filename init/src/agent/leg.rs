//! Runs a leg in its own process: forwards its output, enforces its time limit, and leaves no process of it behind.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, setpgid};
use vmlab_protocol::message::{Leg, LegOutcome, RawChunk, Stream};

use super::Order;
use super::allowance::Allowance;
use super::children::Children;
use super::sweep;
use super::work::Work;
use crate::link::{Link, LinkError};
use crate::sys::process::fork_with;

/// The maximum size of a leg's result, in bytes of JSON.
const RESULT_LIMIT: usize = 64 * 1024;

/// 0 stands for the calling process and for its PID as process group (setpgid(2)).
const ITSELF: Pid = Pid::from_raw(0);

/// The result of a leg.
pub(super) struct Done {
    pub(super) outcome: LegOutcome,
    pub(super) duration_ns: u64,
    pub(super) output_dropped: u64,
}

/// Runs a leg. `output_left` is the output that the job may still send, in bytes.
pub(super) fn run(
    link: &mut Link,
    order: &Order<'_>,
    work: &Work,
    leg: Leg,
    output_left: &mut u64,
) -> Result<Done, LinkError> {
    let began = Instant::now();
    let mut forwarded = Forwarded { link, run: order.run, leg, left: output_left, dropped: 0 };
    let outcome = match Running::start(work, leg, forwarded.link, order.children) {
        Err(why) => LegOutcome::Failed { detail: format!("the agent cannot start the leg: {why}") },
        Ok(mut running) => {
            let limit = Duration::from_millis(order.leg_timeout_ms);
            let end = running.watch(order.children, Allowance::new(limit, began), &mut forwarded)?;
            let swept = sweep::sweep(order.children);
            running.drain(&mut forwarded)?;
            match swept {
                Ok(()) => running.outcome(end, order.leg_timeout_ms),
                Err(why) => LegOutcome::Failed { detail: why },
            }
        }
    };
    let duration_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok(Done { outcome, duration_ns, output_dropped: forwarded.dropped })
}

/// Sends the leg's output to the host, up to a limit.
struct Forwarded<'a> {
    link: &'a mut Link,
    run: u32,
    leg: Leg,
    left: &'a mut u64,
    dropped: u64,
}

impl Forwarded<'_> {
    fn take(&mut self, stream: Stream, data: &[u8]) -> Result<(), LinkError> {
        let room = usize::try_from(*self.left).unwrap_or(usize::MAX).min(data.len());
        let (sent, dropped) = data.split_at(room);
        *self.left -= sent.len() as u64;
        self.dropped += dropped.len() as u64;
        if sent.is_empty() {
            return Ok(());
        }
        self.link.send_chunk(&RawChunk { run: self.run, leg: self.leg, stream, data: sent })
    }
}

/// How the agent's wait for a leg's process ended.
enum End {
    Reaped(WaitStatus),
    TimedOut,
    Lost(String),
}

/// A leg's process and its pipes. A pipe is None after its end of file.
struct Running {
    pid: Pid,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    result: Option<PipeReader>,
    received: Vec<u8>,
    result_too_long: bool,
    buffer: Vec<u8>,
}

impl Running {
    fn start(work: &Work, leg: Leg, link: &Link, children: &Children) -> Result<Self, String> {
        let failed = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
        let pipe = || -> Result<(PipeReader, PipeWriter), String> {
            let (reader, writer) = io::pipe().map_err(|error| format!("pipe: {error}"))?;
            fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed("fcntl"))?;
            Ok((reader, writer))
        };
        let ((stdout, out), (stderr, err), (result, mut say)) = (pipe()?, pipe()?, pipe()?);
        let pid = fork_with(|| {
            let outcome = match enter(&out, &err, children, link) {
                Ok(()) => work.run_leg(leg),
                Err(error) => LegOutcome::Failed { detail: format!("the leg's process cannot start: {error}") },
            };
            let json = serde_json::to_vec(&outcome).unwrap_or_default();
            u8::from(say.write_all(&json).is_err() || io::stdout().flush().is_err())
        })
        .map_err(failed("fork"))?;
        Ok(Self {
            pid,
            stdout: Some(stdout),
            stderr: Some(stderr),
            result: Some(result),
            received: Vec::new(),
            result_too_long: false,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Forwards output until the leg's process has ended or its time limit has passed.
    fn watch(
        &mut self,
        children: &Children,
        mut allowance: Allowance,
        forwarded: &mut Forwarded<'_>,
    ) -> Result<End, LinkError> {
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
                Ok(end) => return Ok(End::Reaped(end)),
                Err(error) => return Ok(End::Lost(format!("waitpid: {error}"))),
            }
            let Some(wait) = allowance.next_wait(Instant::now()) else {
                return Ok(match kill(self.pid, Signal::SIGKILL) {
                    Ok(()) => End::TimedOut,
                    Err(error) => End::Lost(format!("cannot kill the leg after its time limit: {error}")),
                });
            };
            let mut fds: Vec<_> = [&self.stdout, &self.stderr, &self.result]
                .into_iter()
                .flatten()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
                .chain([PollFd::new(children.as_fd(), PollFlags::POLLIN)])
                .collect();
            // Rounded up: a timeout of 0 ms for the last fraction of a millisecond would make this loop spin.
            let wait = wait + Duration::from_millis(1);
            match poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Ok(End::Lost(format!("poll: {error}"))),
            }
            if let Err(why) = children.drain() {
                return Ok(End::Lost(why));
            }
            self.read_once(forwarded)?;
        }
    }

    /// Reads the rest of the pipes after all writers have ended.
    fn drain(&mut self, forwarded: &mut Forwarded<'_>) -> Result<(), LinkError> {
        while self.read_once(forwarded)? {}
        Ok(())
    }

    /// Reads each pipe once; returns whether any pipe had data.
    fn read_once(&mut self, forwarded: &mut Forwarded<'_>) -> Result<bool, LinkError> {
        let mut any = false;
        for (pipe, stream) in [(&mut self.stdout, Stream::Stdout), (&mut self.stderr, Stream::Stderr)] {
            if let Some(count) = read_pipe(pipe, &mut self.buffer)? {
                any = true;
                forwarded.take(stream, self.buffer.get(..count).unwrap_or_default())?;
            }
        }
        if let Some(count) = read_pipe(&mut self.result, &mut self.buffer)? {
            any = true;
            let room = RESULT_LIMIT.saturating_sub(self.received.len()).min(count);
            self.result_too_long |= room < count;
            self.received.extend_from_slice(self.buffer.get(..room).unwrap_or_default());
        }
        Ok(any)
    }

    /// The leg's outcome, from its exit status and its result. The result counts only if the process exited with 0.
    fn outcome(&self, end: End, limit_ms: u64) -> LegOutcome {
        let how = match end {
            End::TimedOut => return LegOutcome::TimedOut { limit_ms },
            End::Lost(detail) => return LegOutcome::Failed { detail },
            End::Reaped(WaitStatus::Exited(_, 0)) => {
                if self.result_too_long {
                    return LegOutcome::Failed { detail: format!("the result exceeds {RESULT_LIMIT} bytes") };
                }
                match serde_json::from_slice(&self.received) {
                    Ok(outcome) => return outcome,
                    Err(_) if self.received.is_empty() => "exited with 0 without a result".to_owned(),
                    Err(error) => format!("exited with 0 and an unreadable result: {error}"),
                }
            }
            End::Reaped(WaitStatus::Exited(_, code)) => format!("exited with {code}"),
            End::Reaped(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
            End::Reaped(other) => format!("ended as {other:?}"),
        };
        LegOutcome::Died { how }
    }
}

/// Sets up the leg's process before any of the job's code: its own process group, pipes for output, and an empty signal
/// mask. Standard input is the agent's. A new session would cost each fork the translation of 400 more blocks of code
/// in the emulator, because the scheduler groups tasks by session (kernel/sched/autogroup.c).
fn enter(out: &PipeWriter, err: &PipeWriter, children: &Children, link: &Link) -> Result<(), io::Error> {
    link.close_in_child()?;
    setpgid(ITSELF, ITSELF)?;
    dup2_stdout(out)?;
    dup2_stderr(err)?;
    children.forget_in_child()?;
    Ok(())
}

/// Reads from a pipe: Some(n) after n bytes, None if no data is available. Sets the pipe to None at its end of file.
fn read_pipe(pipe: &mut Option<PipeReader>, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
    let Some(reader) = pipe else { return Ok(None) };
    match reader.read(buffer) {
        Ok(0) => {
            *pipe = None;
            Ok(None)
        }
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(LinkError::Port { what: "read a leg's pipe", error }),
    }
}
