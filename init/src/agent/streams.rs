//! The streams of a command, seen from the agent: the ends of its pipes, or its terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, PipeReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{posix_openpt, ptsname_r, unlockpt};
use nix::unistd::{Pid, tcgetpgrp};
use vmlab_protocol::command::WindowSize;
use vmlab_protocol::message::Stream;

use super::output::{Forwarded, read_pipe, set_nonblocking};
use super::window::{Overrun, Pending, Window};
use crate::command::Pipes;
use crate::link::LinkError;
use crate::sys::terminal;

/// The agent's ends. With a terminal, all output is standard output.
pub(super) struct Streams {
    pub(super) input: Input,
    pub(super) outputs: Vec<Output>,
    pub(super) terminal: Option<Terminal>,
}

impl Streams {
    /// Pipes: the agent's ends and the command's.
    pub(super) fn pipes() -> Result<(Self, Pipes), String> {
        let pipe = || io::pipe().map_err(|error| format!("pipe: {error}"));
        let ((stdin, input), (out, stdout), (err, stderr)) = (pipe()?, pipe()?, pipe()?);
        let own = |fd: OwnedFd| set_nonblocking(&fd).map(|()| Some(File::from(fd)));
        let streams = Self {
            input: Input::new(own(input.into())?),
            outputs: vec![Output::new(own(out.into())?, Stream::Stdout), Output::new(own(err.into())?, Stream::Stderr)],
            terminal: None,
        };
        Ok((streams, Pipes { stdin, stdout, stderr }))
    }

    /// A terminal of this size: the agent's end, and the device of the command's.
    pub(super) fn terminal(size: WindowSize) -> Result<(Self, PathBuf), String> {
        let failed = |call: &'static str| move |error: nix::Error| format!("{call}: {error}");
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .map_err(failed("posix_openpt"))?;
        unlockpt(&master).map_err(failed("unlockpt"))?;
        let path = PathBuf::from(ptsname_r(&master).map_err(failed("ptsname"))?);
        let master = File::from(OwnedFd::from(master));
        terminal::set_size(&master, size.rows, size.columns).map_err(failed("ioctl(TIOCSWINSZ)"))?;
        let open = || -> io::Result<_> {
            let other_end = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&path)?;
            Ok((master.try_clone()?, master.try_clone()?, other_end))
        };
        let (input, output, other_end) = open().map_err(|error| format!("open({}): {error}", path.display()))?;
        let streams = Self {
            input: Input::new(Some(input)),
            outputs: vec![Output::new(Some(output), Stream::Stdout), Output::new(None, Stream::Stderr)],
            terminal: Some(Terminal { master, _other_end: other_end }),
        };
        Ok((streams, path))
    }

    /// What [`Self::read`] and [`Input::write`] wait for.
    pub(super) fn fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.outputs.iter().filter_map(Output::fd).chain(self.input.fd())
    }

    /// Reads each output once; returns whether any had data.
    pub(super) fn read(&mut self, buffer: &mut [u8], forwarded: &mut Forwarded<'_>) -> Result<bool, LinkError> {
        let mut any = false;
        for output in &mut self.outputs {
            any |= output.read(buffer, forwarded)?;
        }
        Ok(any)
    }

    /// Whether there is output that waits for the host to take earlier output.
    pub(super) fn is_held_up(&self) -> bool {
        self.outputs.iter().any(Output::is_held_up)
    }

    pub(super) fn taken(&mut self, stream: Stream, bytes: u64) {
        if let Some(output) = self.output(stream) {
            output.window.taken(bytes);
        }
    }

    /// Closes the agent's end of a pipe, so that the command gets SIGPIPE. A terminal stays, and its output is dropped.
    pub(super) fn close(&mut self, stream: Stream) {
        let stays = self.terminal.is_some() && stream != Stream::Archive;
        if let Some(output) = self.output(stream) {
            output.is_dropped = true;
            if !stays {
                output.source = None;
            }
        }
    }

    /// Adds the archive of the command's files as an output.
    pub(super) fn add_archive(&mut self, archive: PipeReader) -> Result<(), String> {
        set_nonblocking(&archive)?;
        self.outputs.push(Output::new(Some(File::from(OwnedFd::from(archive))), Stream::Archive));
        Ok(())
    }

    /// Whether the archive goes on.
    pub(super) fn awaits_archive(&self) -> bool {
        self.outputs.iter().any(|output| output.stream == Stream::Archive && output.source.is_some())
    }

    /// Whether the host has refused the archive.
    pub(super) fn archive_is_dropped(&self) -> bool {
        self.outputs.iter().any(|output| output.stream == Stream::Archive && output.is_dropped)
    }

    fn output(&mut self, stream: Stream) -> Option<&mut Output> {
        self.outputs.iter_mut().find(|output| output.stream == stream)
    }
}

/// A terminal. Without the agent's descriptor of the other end, the terminal would hang up whenever the command has it closed.
pub(super) struct Terminal {
    master: File,
    _other_end: File,
}

impl Terminal {
    /// The process group in the foreground.
    pub(super) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.master).ok().filter(|group| group.as_raw() > 0)
    }

    pub(super) fn resize(&self, size: WindowSize) {
        // A terminal that has hung up has no size.
        let _ = terminal::set_size(&self.master, size.rows, size.columns);
    }
}

/// Standard input.
pub(super) struct Input {
    /// None after the end, or after the command has closed its end.
    sink: Option<File>,
    pending: Pending,
    has_ended: bool,
}

impl Input {
    const fn new(sink: Option<File>) -> Self {
        Self { sink, pending: Pending::new(), has_ended: false }
    }

    fn fd(&self) -> Option<PollFd<'_>> {
        let sink = self.sink.as_ref().filter(|_| !self.pending.is_empty())?;
        Some(PollFd::new(sink.as_fd(), PollFlags::POLLOUT))
    }

    pub(super) fn add(&mut self, data: &[u8]) -> Result<(), Overrun> {
        self.pending.add(data)
    }

    pub(super) const fn end(&mut self) {
        self.has_ended = true;
    }

    /// Writes what the command's end takes; returns the bytes to report to the host. Input that nobody reads is taken as well.
    pub(super) fn write(&mut self) -> Option<u64> {
        while !self.pending.is_empty() {
            let Some(sink) = &mut self.sink else {
                self.pending.take(usize::MAX);
                break;
            };
            match sink.write(self.pending.front()) {
                Ok(count) => self.pending.take(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // EPIPE: the command has closed its end.
                Err(_) => self.sink = None,
            }
        }
        if self.has_ended && self.pending.is_empty() {
            self.sink = None;
        }
        self.pending.report()
    }
}

/// Standard output or standard error.
pub(super) struct Output {
    /// None after its end of file.
    source: Option<File>,
    stream: Stream,
    window: Window,
    /// Nobody wants the output.
    is_dropped: bool,
}

impl Output {
    const fn new(source: Option<File>, stream: Stream) -> Self {
        Self { source, stream, window: Window::new(), is_dropped: false }
    }

    fn room(&self) -> usize {
        if self.is_dropped { usize::MAX } else { self.window.room() }
    }

    fn fd(&self) -> Option<PollFd<'_>> {
        let source = self.source.as_ref().filter(|_| self.room() > 0)?;
        Some(PollFd::new(source.as_fd(), PollFlags::POLLIN))
    }

    fn is_held_up(&self) -> bool {
        let Some(source) = self.source.as_ref().filter(|_| self.room() == 0) else { return false };
        let mut fds = [PollFd::new(source.as_fd(), PollFlags::POLLIN)];
        let [fd] = if poll(&mut fds, PollTimeout::ZERO).is_ok() { fds } else { return false };
        fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
    }

    fn read(&mut self, buffer: &mut [u8], forwarded: &mut Forwarded<'_>) -> Result<bool, LinkError> {
        let room = self.room().min(buffer.len());
        if room == 0 {
            return Ok(false);
        }
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let Some(count) = read_pipe(&mut self.source, buffer)? else { return Ok(false) };
        if !self.is_dropped {
            let sent = forwarded.take(self.stream, buffer.get(..count).unwrap_or_default())?;
            self.window.sent(sent);
        }
        Ok(true)
    }
}
