//! The guest's end of the link: blocking writes of frames on the control port, and reads that block or take what is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::Path;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::close;
use vmlab_protocol::frame::{Decoder, Item, Kind};
use vmlab_protocol::message::{self, Envelope, GuestMessage, HostMessage, RawChunk, Stream};

/// The control port with a decoder.
pub(crate) struct Link {
    port: File,
    decoder: Decoder,
    out: Vec<u8>,
    seq: u64,
}

/// Why the agent cannot continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("cannot open {path}: {error}")]
    Open { path: String, error: io::Error },
    #[error("cannot {what}: {error}")]
    Port { what: &'static str, error: io::Error },
    #[error("the host has closed the link")]
    Closed,
    #[error("the host sent {0}")]
    Damaged(String),
    #[error("cannot renew the guest's entropy, boot id or clock: {0}")]
    Prepare(String),
    #[error("cannot use the kernel's log and console settings: {0}")]
    Console(String),
    #[error("the legs of a job without effects ended with {0}")]
    Exercise(String),
    #[error("cannot wait for legs: {0}")]
    Children(String),
    #[error("a message does not fit into a frame: {0}")]
    TooLarge(#[from] vmlab_protocol::frame::TooLarge),
    #[error("cannot {what}: {error}")]
    System { what: &'static str, error: nix::Error },
}

/// What the host sends.
#[derive(Debug)]
pub(crate) enum FromHost {
    Message(HostMessage),
    /// Raw data. Only the standard input of a command is sent this way.
    Chunk {
        run: u32,
        stream: Stream,
        data: Vec<u8>,
    },
}

impl AsFd for Link {
    /// The port.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}

impl Link {
    pub(crate) fn open(path: &Path) -> Result<Self, LinkError> {
        let port = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|error| LinkError::Open { path: path.display().to_string(), error })?;
        Ok(Self::new(port))
    }

    pub(crate) fn new(port: File) -> Self {
        Self { port, decoder: Decoder::default(), out: Vec::new(), seq: 0 }
    }

    /// Closes the port in a child of the agent, so that a scenario cannot forge the agent's messages.
    pub(crate) fn close_in_child(&self) -> Result<(), nix::Error> {
        close(self.port.as_raw_fd())
    }

    /// Sends a message; returns when QEMU has taken it.
    pub(crate) fn send(&mut self, message: GuestMessage) -> Result<(), LinkError> {
        self.send_altered(message, |_| ())
    }

    /// Sends a message after `alter` has changed its frame; used by faults.
    pub(crate) fn send_altered(
        &mut self,
        message: GuestMessage,
        alter: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), LinkError> {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .map_err(|error| LinkError::System { what: "read CLOCK_BOOTTIME", error })?;
        let boottime_ns = nanoseconds(now);
        let envelope = Envelope { seq: self.seq, boottime_ns, message };
        self.seq += 1;
        self.out.clear();
        message::encode(&envelope, &mut self.out)?;
        alter(&mut self.out);
        self.flush()
    }

    pub(crate) fn send_chunk(&mut self, chunk: &RawChunk<'_>) -> Result<(), LinkError> {
        self.out.clear();
        chunk.encode(&mut self.out)?;
        self.flush()
    }

    /// Waits for the next message or input.
    pub(crate) fn receive(&mut self) -> Result<FromHost, LinkError> {
        loop {
            if let Some(received) = self.next()? {
                return Ok(received);
            }
            self.fill()?;
        }
    }

    /// The next message or input of what was read; None if it is not complete.
    pub(crate) fn next(&mut self) -> Result<Option<FromHost>, LinkError> {
        let frame = match self.decoder.next_item() {
            None => return Ok(None),
            Some(Item::Frame(frame)) => frame,
            Some(Item::Damaged { bytes, why }) => {
                return Err(LinkError::Damaged(format!("{bytes} bytes of damage: {why}")));
            }
        };
        match frame.kind {
            Kind::Message => message::decode(&frame).map(FromHost::Message),
            Kind::Raw => RawChunk::decode(&frame.payload).map(|chunk| FromHost::Chunk {
                run: chunk.run,
                stream: chunk.stream,
                data: chunk.data.to_vec(),
            }),
        }
        .map(Some)
        .map_err(|error| LinkError::Damaged(error.to_string()))
    }

    /// Reads once. Does not block if [`Self::as_fd`] is readable.
    pub(crate) fn fill(&mut self) -> Result<(), LinkError> {
        let mut buffer = [0; 4096];
        match self.port.read(&mut buffer) {
            Ok(0) => Err(LinkError::Closed),
            Ok(count) => {
                self.decoder.push(buffer.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(LinkError::Port { what: "read from the port", error }),
        }
    }

    fn flush(&mut self) -> Result<(), LinkError> {
        self.port.write_all(&self.out).map_err(|error| LinkError::Port { what: "write to the port", error })
    }
}

/// A time in ns. No clock that is read here is negative.
pub(crate) fn nanoseconds(time: TimeSpec) -> u64 {
    let total = i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec());
    u64::try_from(total).unwrap_or_default()
}
