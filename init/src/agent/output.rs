//! The way of a leg's output to the host.

use std::io::{self, Read};
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use vmlab_protocol::message::{Leg, RawChunk, Stream};

use crate::link::{Link, LinkError};

/// The size of the buffer for one read, in bytes: that of a pipe (pipe(7)).
pub(super) const BUFFER_BYTES: usize = 64 * 1024;

/// Sends the leg's output to the host, up to a limit.
pub(crate) struct Forwarded<'a> {
    pub(crate) link: &'a mut Link,
    pub(crate) run: u32,
    pub(crate) leg: Leg,
    pub(crate) left: &'a mut u64,
    pub(crate) dropped: u64,
}

impl Forwarded<'_> {
    /// Sends what the limit allows; returns its length.
    pub(super) fn take(&mut self, stream: Stream, data: &[u8]) -> Result<usize, LinkError> {
        let room = usize::try_from(*self.left).unwrap_or(usize::MAX).min(data.len());
        let (sent, dropped) = data.split_at(room);
        *self.left -= sent.len() as u64;
        self.dropped += dropped.len() as u64;
        if !sent.is_empty() {
            self.link.send_chunk(&RawChunk { run: self.run, leg: self.leg, stream, data: sent })?;
        }
        Ok(sent.len())
    }
}

pub(super) fn set_nonblocking(fd: impl AsFd) -> Result<(), String> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop).map_err(|error| format!("fcntl: {error}"))
}

/// Reads from a pipe: Some(n) after n bytes, None if no data is available. Sets the pipe to None at its end of file.
pub(super) fn read_pipe<R: Read>(pipe: &mut Option<R>, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
    let Some(reader) = pipe else { return Ok(None) };
    match reader.read(buffer) {
        Ok(0) => {
            *pipe = None;
            Ok(None)
        }
        // A terminal has hung up (tty_io.c).
        Err(error) if error.raw_os_error() == Some(libc::EIO) => {
            *pipe = None;
            Ok(None)
        }
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(LinkError::Port { what: "read a leg's pipe", error }),
    }
}
