//! The host's end of the port: divides the stream into requests, and has each one answered.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;

use fuse_backend_rs::api::server::Server;
use fuse_backend_rs::transport::{FuseBuf, FuseDevWriter, Reader, Writer};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::confine;
use crate::request::{HEADER, Handling, Header, LONGEST, handling, refusal};
use crate::tree::Tree;
use crate::view::View;

/// A guest whose requests are no longer answered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port cannot be read.
    #[error("cannot read the guest's requests for the host's files: {source}")]
    Read {
        /// The kernel's error.
        source: io::Error,
    },
    /// A reply cannot be written.
    #[error("cannot answer the guest's request for the host's files (operation {opcode}): {text}")]
    Reply {
        /// The FUSE operation.
        opcode: u32,
        /// What the library says about it.
        text: String,
    },
    /// A request has an impossible length.
    #[error(
        "the guest sent a request for the host's files of {length} bytes (operation {opcode}), \
             but FUSE requests have {} to {} bytes. The guest's end of the port is broken",
        HEADER,
        LONGEST
    )]
    Length {
        /// In bytes.
        length: usize,
        /// The FUSE operation.
        opcode: u32,
    },
    /// The stream ends within a request.
    #[error("the guest closed the port for the host's files {bytes} bytes into a request")]
    Truncated {
        /// The part of the request that came, in bytes.
        bytes: usize,
    },
    /// A request does not have the form that its operation requires.
    #[error("the guest sent a malformed request for the host's files (operation {opcode}, {length} bytes): {text}")]
    Malformed {
        /// The FUSE operation.
        opcode: u32,
        /// In bytes.
        length: usize,
        /// What the library says about it.
        text: String,
    },
}

/// Answers a guest's requests until the guest closes the port.
///
/// Blocks, so it needs a thread of its own. It confines that thread for good: the thread can open files for reading only,
/// and gets no signal any more. A guest that does not read its replies stops its own service; the service ends when the
/// port's other end is closed.
///
/// # Errors
/// If the guest sends what is no FUSE request, or the port fails. The guest gets no further replies then.
pub fn serve(port: UnixStream, view: &View) -> Result<(), ServeError> {
    confine::confine_thread();
    let mut service = Service { port, server: Server::new(Tree::new(view)), reply: vec![0; LONGEST] };
    service.port.set_nonblocking(false).map_err(|source| ServeError::Read { source })?;
    service.run()
}

/// Whether the guest is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guest {
    Listens,
    Gone,
}

struct Service {
    port: UnixStream,
    server: Server<Tree>,
    /// Room for a reply.
    reply: Vec<u8>,
}

impl Service {
    fn run(&mut self) -> Result<(), ServeError> {
        let mut input = vec![0; LONGEST];
        let mut filled = 0;
        loop {
            match self.port.read(&mut input[filled..]) {
                Ok(0) if filled > 0 => return Err(ServeError::Truncated { bytes: filled }),
                Ok(0) => return Ok(()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(source) => return Err(ServeError::Read { source }),
            }
            let mut start = 0;
            while let Some(header) = whole_request(&input[start..filled])? {
                if self.handle(header, &mut input[start..start + header.length])? == Guest::Gone {
                    return Ok(());
                }
                start += header.length;
            }
            input.copy_within(start..filled, 0);
            filled -= start;
        }
    }

    fn handle(&mut self, header: Header, request: &mut [u8]) -> Result<Guest, ServeError> {
        match handling(header.opcode) {
            Handling::Answer => self.answer(header, request),
            Handling::Ignore => Ok(Guest::Listens),
            Handling::Refuse(error) => match self.port.write_all(&refusal(header.unique, error)) {
                Ok(()) => Ok(Guest::Listens),
                Err(e) => self.after_failed_reply(header, &e),
            },
        }
    }

    fn answer(&mut self, header: Header, request: &mut [u8]) -> Result<Guest, ServeError> {
        use fuse_backend_rs::Error;
        let malformed = |text: String| ServeError::Malformed { opcode: header.opcode, length: header.length, text };
        let reader = Reader::<()>::from_fuse_buffer(FuseBuf::new(request)).map_err(|e| malformed(e.to_string()))?;
        // The library writes a reply with one call. It is written whole, because the socket blocks and no signal comes.
        let writer =
            FuseDevWriter::new(self.port.as_raw_fd(), &mut self.reply).map_err(|e| malformed(e.to_string()))?;
        match self.server.handle_message(reader, Writer::FuseDev(writer), None, None) {
            Ok(_) => Ok(Guest::Listens),
            Err(Error::EncodeMessage(e)) => self.after_failed_reply(header, &e),
            Err(e) => Err(malformed(e.to_string())),
        }
    }

    /// A reply cannot be written to a guest that is gone, which is no error.
    fn after_failed_reply(&self, header: Header, error: &io::Error) -> Result<Guest, ServeError> {
        let mut ports = [PollFd::new(self.port.as_fd(), PollFlags::empty())];
        let is_gone = poll(&mut ports, PollTimeout::ZERO).is_ok()
            && ports[0].revents().is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR));
        if is_gone {
            return Ok(Guest::Gone);
        }
        Err(ServeError::Reply { opcode: header.opcode, text: error.to_string() })
    }
}

/// The header of the first request, if all of the request is there.
fn whole_request(input: &[u8]) -> Result<Option<Header>, ServeError> {
    let Some(bytes) = input.first_chunk() else { return Ok(None) };
    let header = Header::read(bytes);
    if !(HEADER..=LONGEST).contains(&header.length) {
        return Err(ServeError::Length { length: header.length, opcode: header.opcode });
    }
    Ok(Some(header).filter(|header| input.len() >= header.length))
}
