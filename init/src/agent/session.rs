//! Runs a command: passes its input, output and signals on until it has ended.

use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use vmlab_protocol::command::{Command, CommandEnd, Control};
use vmlab_protocol::message::{GuestMessage, HostMessage, LegOutcome, Stream};

use super::archiver::{self, Archiver};
use super::output::{BUFFER_BYTES, Forwarded};
use super::process::{End, Process};
use super::standby::{Launched, Launcher};
use super::streams::{Streams, Terminal};
use super::sweep;
use crate::children::Children;
use crate::link::{FromHost, LinkError};
use crate::sandbox;
use crate::sys::process::send_signal;

/// The time in which output is collected after some has been sent.
const COLLECTING: Duration = Duration::from_millis(1);

/// The time that the host has to take output of a command that exceeded its time limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
pub(crate) fn run(
    command: &Command,
    launcher: &mut Launcher<'_>,
    limit_ms: u64,
    children: &Children,
    forwarded: &mut Forwarded<'_>,
) -> Result<LegOutcome, LinkError> {
    let session = match launcher.launch(command, limit_ms) {
        Ok(Launched { process, streams, archiver }) => {
            Session { process, streams, archiver, has_ended: false, buffer: vec![0; BUFFER_BYTES] }
        }
        Err(why) => {
            return Ok(LegOutcome::Failed { detail: format!("the agent cannot start the command: {why}") });
        }
    };
    session.serve(children, forwarded)
}

struct Session {
    process: Process,
    streams: Streams,
    /// None if no files are to be copied, and after they have been.
    archiver: Option<Archiver>,
    has_ended: bool,
    buffer: Vec<u8>,
}

impl Session {
    fn serve(mut self, children: &Children, forwarded: &mut Forwarded<'_>) -> Result<LegOutcome, LinkError> {
        let end = self.watch(children, forwarded)?;
        self.has_ended = true;
        let copied = self.collect(&end, forwarded)?;
        let swept = sweep::sweep(children);
        let patience = matches!(end, End::TimedOut).then_some(PATIENCE);
        self.drain(patience, forwarded)?;
        Ok(match swept {
            Ok(()) => with_files(self.process.outcome(end, ended), copied),
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
            // The first output goes out at once. More is collected meanwhile: the agent runs before the command, and would
            // otherwise interrupt it at each of its writes.
            if self.streams.read(&mut self.buffer, forwarded)? {
                thread::sleep(COLLECTING);
            }
        }
    }

    /// Sends the files of a command that has ended to the host. The inner error says why they are not complete.
    fn collect(&mut self, end: &End, forwarded: &mut Forwarded<'_>) -> Result<Result<(), String>, LinkError> {
        let Some(mut archiver) = self.archiver.take().filter(|_| matches!(end, End::Reaped(_))) else {
            return Ok(Ok(()));
        };
        if let Err(why) = archiver.begin() {
            return Ok(Err(why));
        }
        let mut since = Instant::now();
        loop {
            self.handle_messages(forwarded)?;
            while self.streams.read(&mut self.buffer, forwarded)? {
                since = Instant::now();
            }
            if !self.streams.awaits_archive() {
                break;
            }
            if self.streams.is_held_up() {
                since = Instant::now();
            }
            let left = archiver::PATIENCE.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Ok(Err(format!("nothing was read for {} s", archiver::PATIENCE.as_secs())));
            }
            let port = PollFd::new(forwarded.link.as_fd(), PollFlags::POLLIN);
            let mut fds: Vec<_> = [port].into_iter().chain(self.streams.fds()).collect();
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(LinkError::System { what: "wait for the files of a command", error }),
            }
            let from_host = fds.first().and_then(PollFd::revents).is_some_and(|events| !events.is_empty());
            if from_host {
                forwarded.link.fill()?;
            }
        }
        // A host that cannot write the files reports that itself.
        Ok(if self.streams.archive_is_dropped() { Ok(()) } else { archiver.end() })
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
                FromHost::Message(HostMessage::Control { run, control: Control::Ping }) if run == forwarded.run => {
                    forwarded.link.send(GuestMessage::Alive { run })?;
                }
                FromHost::Message(HostMessage::Control { run, control }) if run == forwarded.run => {
                    self.control(&control);
                }
                FromHost::Chunk { stream: Stream::Stdin, .. } | FromHost::Message(HostMessage::Control { .. }) => {}
                FromHost::Chunk { stream: Stream::Stdout | Stream::Stderr | Stream::Archive, .. } => {
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
            // Late, or answered already.
            Control::Signal { .. } | Control::Ping => {}
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

/// The outcome of a command with files to copy.
fn with_files(outcome: LegOutcome, copied: Result<(), String>) -> LegOutcome {
    match (outcome, copied) {
        (LegOutcome::Ended(_), Err(why)) => {
            LegOutcome::Failed { detail: format!("the files of --out cannot be copied: {why}") }
        }
        (outcome, _) => outcome,
    }
}
