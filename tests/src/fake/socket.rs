//! The sockets and the pipe that vmlab hands over as numbered descriptors.

use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut, Write as _};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, Shutdown, recv, recvmsg, send, shutdown};
use nix::unistd;

/// One end of a connected stream socket that this process inherited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Socket(pub(super) i32);

impl Socket {
    /// Sends all bytes. False: the other side has closed the connection.
    pub(super) fn write(self, mut bytes: &[u8]) -> Result<bool, String> {
        while !bytes.is_empty() {
            match send(self.0, bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(false),
                Err(error) => return Err(format!("cannot write to descriptor {}: {error}", self.0)),
            }
        }
        Ok(true)
    }

    /// Waits for bytes. Empty: the other side has closed the connection.
    pub(super) fn read(self) -> Result<Vec<u8>, String> {
        let mut buffer = vec![0; 4096];
        loop {
            match recv(self.0, &mut buffer, MsgFlags::empty()) {
                Ok(count) => {
                    buffer.truncate(count);
                    return Ok(buffer);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Ok(Vec::new()),
                Err(error) => return Err(format!("cannot read from descriptor {}: {error}", self.0)),
            }
        }
    }

    /// Waits for bytes like [`Self::read`], and for a descriptor that comes with the bytes (unix(7), `SCM_RIGHTS`).
    pub(super) fn read_with_file(self) -> Result<(Vec<u8>, Option<File>), String> {
        let mut buffer = vec![0; 4096];
        let mut space = nix::cmsg_space!([i32; 1]);
        let (count, descriptor) = loop {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            match recvmsg::<()>(self.0, &mut slices, Some(&mut space), MsgFlags::empty()) {
                Ok(message) => {
                    let rights =
                        message.cmsgs().map_err(|error| error.to_string())?.find_map(|control| match control {
                            ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
                            _ => None,
                        });
                    break (message.bytes, rights);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => break (0, None),
                Err(error) => return Err(format!("cannot read from descriptor {}: {error}", self.0)),
            }
        };
        buffer.truncate(count);
        // The descriptor is opened again by its name in proc(5), because safe code cannot make a file of a number.
        let open = |number| File::options().write(true).open(format!("/proc/self/fd/{number}"));
        let file =
            descriptor.map(open).transpose().map_err(|error| format!("the descriptor cannot be used: {error}"))?;
        Ok((buffer, file))
    }

    /// Shuts the connection down both ways, so that the other side sees its end.
    pub(super) fn close(self) -> Result<(), String> {
        shutdown(self.0, Shutdown::Both).map_err(|error| format!("cannot close descriptor {}: {error}", self.0))
    }
}

/// The writing end of a pipe that this process inherited; None after it was closed.
#[derive(Debug)]
pub(super) struct Pipe(Option<File>);

impl Pipe {
    /// Takes over a descriptor: opens it again by its name in proc(5), because safe code cannot make a file of a number.
    pub(super) fn open(number: &str) -> io::Result<Self> {
        let file = File::options().write(true).open(format!("/proc/self/fd/{number}"))?;
        unistd::close(number.parse::<i32>().map_err(io::Error::other)?)?;
        Ok(Self(Some(file)))
    }

    /// Writes all bytes. False: the other side has closed the pipe.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<bool, String> {
        let mut file = self.0.as_ref().ok_or("the pipe was closed")?;
        match file.write_all(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(format!("cannot write to the pipe: {error}")),
        }
    }

    /// Whether the pipe is open.
    pub(super) const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Closes the pipe, so that the other side sees its end.
    pub(super) fn close(&mut self) {
        self.0 = None;
    }
}
