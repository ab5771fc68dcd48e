//! The sockets that vmlab hands over, by their numbers.

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

/// One end of a connected stream socket that this process inherited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Socket(pub(super) i32);

impl Socket {
    /// Sends all of it. False where the other side has gone.
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

    /// Waits for bytes; none where the other side has gone.
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

    /// Ends the connection both ways; the other side sees the end.
    pub(super) fn close(self) -> Result<(), String> {
        shutdown(self.0, Shutdown::Both).map_err(|error| format!("cannot close descriptor {}: {error}", self.0))
    }
}
