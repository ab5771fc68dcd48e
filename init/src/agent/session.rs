//! Runs a command: passes its input, output and signals on until it has ended.

use std::fs;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use vmlab_protocol::command::{Command, CommandEnd, Control};
use vmlab_protocol::message::{GuestMessage, HostMessage, LegOutcome, Stream};

use super::output::{BUFFER_BYTES, Forwarded};
use super::process::{End, Process};
use super::streams::{Streams, Terminal};
use super::sweep;
use crate::children::Children;
use crate::command::{self, Place, autoload};
use crate::link::{FromHost, LinkError};
use crate::sandbox;
use crate::sys::process::send_signal;

/// The time that the host has to take output of a command that exceeded its time limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command, in a root that is made at `place`.
pub(crate) fn run(
    command: &Command,
    place: &Place<'_>,
    limit_ms: u64,
    children: &Children,
    forwarded: &mut Forwarded<'_>,
) -> Result<LegOutcome, LinkError> {
    // A command may use up all memory, which must not end the agent. A leg of a scenario inherits nothing of this.
    let protect = |adjustment: &str| drop(fs::write("/proc/self/oom_score_adj", adjustment));
    protect("-1000");
    let outcome = match Session::start(command, place, limit_ms) {
        Ok(session) => session.serve(children, forwarded),
        Err(why) => Ok(LegOutcome::Failed { detail: format!("the agent cannot start the command: {why}") }),
    };
    protect("0");
    outcome
}

struct Session {
    process: Process,
    streams: Streams,
    has_ended: bool,
    buffer: Vec<u8>,
}

impl Session {
    fn start(command: &Command, place: &Place<'_>, limit_ms: u64) -> Result<Self, String> {
        let (streams, stdio) = Streams::open(command.terminal)?;
        let process = Process::start(limit_ms, move || command::become_program(command, place, stdio))?;
        autoload::announce(place, process.pid());
        Ok(Self { process, streams, has_ended: false, buffer: vec![0; BUFFER_BYTES] })
    }

    fn serve(mut self, children: &Children, forwarded: &mut Forwarded<'_>) -> Result<LegOutcome, LinkError> {
        let end = self.watch(children, forwarded)?;
        self.has_ended = true;
        let swept = sweep::sweep(children);
        let patience = matches!(end, End::TimedOut).then_some(PATIENCE);
        self.drain(patience, forwarded)?;
        Ok(match swept {
            Ok(()) => self.process.outcome(end, ended),
            Err(why) => LegOutcome::Failed { detail: why },
        })
    }

    /// Serves the command until it has ended or its time limit has passed.
    fn watch(&mut self, children: &Children, forwarded: &mut Forwarded<'_>) -> Result<End, LinkError> {
        loop {
            self.handle_messages(forwarded)?;
            if let Some(bytes) = self.streams.input.write() {
                forwarded.link.send(GuestMessage::InputTaken { run: forwarded.run, bytes })?;
            }
            let port = PollFd::new(forwarded.link.as_fd(), PollFlags::POLLIN);
            let fds = [port].into_iter().chain(self.streams.fds()).collect();
            let ready = match self.process.wait(children, fds) {
                Ok(ready) => ready,
                Err(end) => return Ok(end),
            };
            if ready.first() == Some(&true) {
                forwarded.link.fill()?;
            }
            self.streams.read(&mut self.buffer, forwarded)?;
        }
    }

    /// Sends the rest of the output after all its writers have ended. Waits for the host to take output, which takes as long as its
    /// own reader does; with `patience` at most that long at a time, and the rest is lost.
    fn drain(&mut self, patience: Option<Duration>, forwarded: &mut Forwarded<'_>) -> Result<(), LinkError> {
        let mut since = Instant::now();
        loop {
            self.handle_messages(forwarded)?;
            while self.streams.read(&mut self.buffer, forwarded)? {
                since = Instant::now();
            }
            if !self.streams.is_held_up() {
                return Ok(());
            }
            let left = patience.map(|patience| patience.saturating_sub(since.elapsed()));
            if left == Some(Duration::ZERO) {
                return Ok(());
            }
            let timeout =
                left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            let ready = poll(&mut [PollFd::new(forwarded.link.as_fd(), PollFlags::POLLIN)], timeout);
            match ready {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => forwarded.link.fill()?,
                Err(error) => return Err(LinkError::System { what: "wait for the host", error }),
            }
        }
    }

    /// Handles what was read from the host. Messages for an earlier command have come too late, and are no error.
    fn handle_messages(&mut self, forwarded: &mut Forwarded<'_>) -> Result<(), LinkError> {
        while let Some(received) = forwarded.link.next()? {
            match received {
                FromHost::Chunk { run, stream: Stream::Stdin, data } if run == forwarded.run && !self.has_ended => {
                    let overrun = |_| LinkError::Damaged("more input than the command has taken".to_owned());
                    self.streams.input.add(&data).map_err(overrun)?;
                }
                FromHost::Message(HostMessage::Control { run, control }) if run == forwarded.run => {
                    self.control(&control);
                }
                FromHost::Chunk { stream: Stream::Stdin, .. } | FromHost::Message(HostMessage::Control { .. }) => {}
                FromHost::Chunk { stream: Stream::Stdout | Stream::Stderr, .. } => {
                    return Err(LinkError::Damaged("the output of a command".to_owned()));
                }
                FromHost::Message(_) => {
                    return Err(LinkError::Damaged("another order while a command runs".to_owned()));
                }
            }
        }
        Ok(())
    }

    fn control(&mut self, control: &Control) {
        match *control {
            Control::EndOfInput => self.streams.input.end(),
            Control::Signal { signal } if !self.has_ended => self.signal(signal),
            Control::Resize { size } => {
                if let Some(terminal) = &self.streams.terminal {
                    terminal.resize(size);
                }
            }
            Control::Taken { stream, bytes } => self.streams.taken(stream, bytes),
            Control::Closed { stream } => self.streams.close(stream),
            Control::Signal { .. } => {}
        }
    }

    /// Sends a signal to the command's process group, or to the one in the foreground of its terminal. The command may have ended,
    /// and the host may know signals that this kernel does not: neither is an error.
    fn signal(&self, signal: i32) {
        let own = self.process.pid();
        let foreground = self.streams.terminal.as_ref().and_then(Terminal::foreground);
        // The kernel drops SIGTSTP to a process group whose parents are all in other sessions (setpgid(2), "orphaned"). Without a
        // terminal that is the command's group.
        let signal = if signal == libc::SIGTSTP && foreground.is_none() { libc::SIGSTOP } else { signal };
        let group = foreground.unwrap_or(own);
        if send_signal(Pid::from_raw(-group.as_raw()), signal) == Err(Errno::ESRCH) {
            // The process has no group of its own yet. If it has ended meanwhile, there is nothing to signal.
            let _ = send_signal(own, signal);
        }
    }
}

/// The outcome of a command that was executed.
fn ended(end: sandbox::End, unreadable: Option<&str>) -> LegOutcome {
    match (end, unreadable) {
        (_, Some(error)) => {
            LegOutcome::Failed { detail: format!("the command's process sent an unreadable result: {error}") }
        }
        (sandbox::End::Killed(signal), None) => LegOutcome::Ended(CommandEnd::Killed { signal }),
        // The kernel keeps 8 bits of the exit code (exit(3)).
        (sandbox::End::Exited(code), None) => {
            LegOutcome::Ended(CommandEnd::Exited { code: u8::try_from(code).unwrap_or(u8::MAX) })
        }
    }
}
