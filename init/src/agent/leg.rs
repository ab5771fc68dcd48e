//! Runs a leg in its own process: forwards its output, enforces its time limit, and leaves no process of it behind.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, setpgid};
use vmlab_protocol::message::{LegOutcome, Stream};

use super::Order;
use super::output::{BUFFER_BYTES, Forwarded, read_pipe, set_nonblocking};
use super::process::{End, Process, Started};
use super::sweep;
use super::work::Code;
use crate::children::Children;
use crate::link::{Link, LinkError};
use crate::sandbox;

/// 0 stands for the calling process and for its PID as process group (setpgid(2)).
const ITSELF: Pid = Pid::from_raw(0);

/// Runs a leg.
pub(super) fn run(order: &Order<'_>, code: &Code, forwarded: &mut Forwarded<'_>) -> Result<LegOutcome, LinkError> {
    let mut running = match Running::start(order, code, forwarded) {
        Ok(running) => running,
        Err(why) => return Ok(LegOutcome::Failed { detail: format!("the agent cannot start the leg: {why}") }),
    };
    let end = running.watch(order.children, forwarded)?;
    let swept = sweep::sweep(order.children);
    running.drain(forwarded)?;
    Ok(match swept {
        Ok(()) => running.process.outcome(end, died),
        Err(why) => LegOutcome::Failed { detail: why },
    })
}

/// The outcome of a process without a result, or with an unreadable one. The result counts only if the process exited with 0.
fn died(end: sandbox::End, unreadable: Option<&str>) -> LegOutcome {
    let how = match (end, unreadable) {
        (_, Some(error)) => format!("{end} and an unreadable result: {error}"),
        (sandbox::End::Exited(0), None) => format!("{end} without a result"),
        (_, None) => end.to_string(),
    };
    LegOutcome::Died { how }
}

/// A leg's process and the pipes of its output. A pipe is None after its end of file.
struct Running {
    process: Process,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    buffer: Vec<u8>,
}

impl Running {
    fn start(order: &Order<'_>, code: &Code, forwarded: &Forwarded<'_>) -> Result<Self, String> {
        let (stdout, out) = pipe()?;
        let (stderr, err) = pipe()?;
        let process = Started::start(|| match enter(&out, &err, order.children, forwarded.link) {
            Ok(()) => code.run_leg(forwarded.leg, order.setting),
            Err(error) => LegOutcome::Failed { detail: format!("the leg's process cannot start: {error}") },
        })?;
        let process = process.limited(order.leg_timeout_ms);
        Ok(Self { process, stdout: Some(stdout), stderr: Some(stderr), buffer: vec![0; BUFFER_BYTES] })
    }

    /// Forwards output until the leg's process has ended or its time limit has passed.
    fn watch(&mut self, children: &Children, forwarded: &mut Forwarded<'_>) -> Result<End, LinkError> {
        loop {
            let fds = [&self.stdout, &self.stderr]
                .into_iter()
                .flatten()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
                .collect();
            if let Err(end) = self.process.wait(children, fds) {
                return Ok(end);
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
        Ok(any)
    }
}

/// A pipe that the agent reads without waiting.
pub(super) fn pipe() -> Result<(PipeReader, PipeWriter), String> {
    let (reader, writer) = io::pipe().map_err(|error| format!("pipe: {error}"))?;
    set_nonblocking(&reader)?;
    Ok((reader, writer))
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
