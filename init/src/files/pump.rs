//! Moves whole FUSE messages between /dev/fuse and the port, without waiting.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags};

use super::replies::{BadLength, MAX_MESSAGE, Replies, is_notification};
use crate::sys::process::fork_with;

/// Both files must be non-blocking. Closing /dev/fuse ends the connection (fuse(4)), so that no process waits for answers.
#[derive(Debug)]
pub(super) struct Pump {
    fuse: File,
    port: File,
    /// A request; the bytes `sent..length` are not written yet.
    request: Vec<u8>,
    length: usize,
    sent: usize,
    replies: Replies,
    is_answered: bool,
}

impl Pump {
    pub(super) fn new(fuse: File, port: File) -> Self {
        let request = vec![0; MAX_MESSAGE];
        Self { fuse, port, request, length: 0, sent: 0, replies: Replies::new(), is_answered: false }
    }

    /// Whether the kernel has an answer to its first request.
    pub(super) const fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// What [`Self::work`] waits for: a request only if the last one was written, so that requests wait in the kernel.
    pub(super) fn fds(&self) -> [PollFd<'_>; 2] {
        let waits = self.sent < self.length;
        let (fuse, port) = if waits {
            (PollFlags::empty(), PollFlags::POLLIN | PollFlags::POLLOUT)
        } else {
            (PollFlags::POLLIN, PollFlags::POLLIN)
        };
        [PollFd::new(self.fuse.as_fd(), fuse), PollFd::new(self.port.as_fd(), port)]
    }

    /// Moves what can be moved now. After an error the pump is of no use.
    pub(super) fn work(&mut self) -> Result<(), String> {
        self.pass_requests()?;
        self.pass_replies()
    }

    fn pass_requests(&mut self) -> Result<(), String> {
        loop {
            if self.sent == self.length {
                match self.fuse.read(&mut self.request) {
                    Ok(length) => (self.length, self.sent) = (length, 0),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    // ENOENT: the request was interrupted meanwhile.
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Interrupted) => continue,
                    Err(error) => return Err(format!("cannot read from /dev/fuse: {error}")),
                }
            }
            match self.port.write(self.request.get(self.sent..self.length).unwrap_or_default()) {
                Ok(count) => self.sent = (self.sent + count).min(self.length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot write to the files port: {error}")),
            }
        }
    }

    fn pass_replies(&mut self) -> Result<(), String> {
        loop {
            match self.port.read(self.replies.room()) {
                Ok(0) => return Err("the host has closed the files port".to_owned()),
                Ok(count) => self.replies.add(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("cannot read from the files port: {error}")),
            }
            while let Some(message) = self.replies.next().map_err(|BadLength(length)| bad_length(length))? {
                if is_notification(message) {
                    notify(&self.fuse, message)?;
                } else {
                    reply(&self.fuse, message)?;
                    self.is_answered = true;
                }
            }
        }
    }
}

fn bad_length(length: u32) -> String {
    format!("the host sent a FUSE message of {length} bytes (limit {MAX_MESSAGE})")
}

fn reply(fuse: &File, message: &[u8]) -> Result<(), String> {
    match write(fuse, message) {
        // ENOENT: the request was interrupted, and nobody waits for the answer.
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("cannot write a reply of {} bytes to /dev/fuse: {error}", message.len()))
        }
        _ => Ok(()),
    }
}

/// Writes a notification in a process of its own: the kernel can take locks for it that a request holds until its answer, and the
/// answer comes through this process (`fuse_reverse_inval_entry` in fs/fuse/dir.c). An error is no harm: the kernel does not know
/// the file, or knows no such notification.
fn notify(fuse: &File, message: &[u8]) -> Result<(), String> {
    fork_with(|| u8::from(write(fuse, message).is_err()))
        .map(drop)
        .map_err(|error| format!("cannot fork for a notification: {error}"))
}

fn write(mut fuse: &File, message: &[u8]) -> io::Result<()> {
    loop {
        match fuse.write(message) {
            // The kernel takes a message whole or not at all.
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    /// A pump between a kernel that keeps messages whole, as /dev/fuse does, and a host; and their ends.
    fn pump() -> (Pump, File, UnixStream) {
        let flags = SockFlag::SOCK_NONBLOCK;
        let (kernel, fuse) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let (host, port) = UnixStream::pair().unwrap();
        for end in [&host, &port] {
            end.set_nonblocking(true).unwrap();
        }
        (Pump::new(File::from(fuse), File::from(OwnedFd::from(port))), File::from(kernel), host)
    }

    fn message(length: usize, fill: u8) -> Vec<u8> {
        let mut bytes = vec![fill; length];
        bytes[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
        bytes
    }

    fn read(mut from: impl io::Read) -> Vec<u8> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let count = from.read(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn messages_pass_whole_in_both_directions() {
        let (mut pump, mut kernel, mut host) = pump();
        let requests = [message(40, 1), message(120, 2), message(4096, 3)];
        for request in &requests {
            kernel.write_all(request).unwrap();
        }
        pump.work().unwrap();
        assert_eq!(read(&host), requests.concat());
        assert!(!pump.is_answered());
        let replies = [message(16, 1), message(70_000, 2)];
        let stream = replies.concat();
        host.write_all(&stream[..1000]).unwrap();
        pump.work().unwrap();
        assert!(pump.is_answered());
        assert_eq!(read(&kernel), replies[0]);
        assert_eq!(read(&kernel), b"");
        host.write_all(&stream[1000..]).unwrap();
        pump.work().unwrap();
        assert_eq!(read(&kernel), replies[1]);
    }

    #[test]
    fn replies_pass_while_a_request_waits_for_the_host() {
        let (mut pump, mut kernel, mut host) = pump();
        let request = message(100_000, 1);
        let mut sent = 0;
        while pump.sent == pump.length && sent < 100 {
            kernel.write_all(&request).unwrap();
            sent += 1;
            pump.work().unwrap();
        }
        let events = |pump: &Pump| pump.fds().map(|fd| fd.events());
        assert_eq!(events(&pump), [PollFlags::empty(), PollFlags::POLLIN | PollFlags::POLLOUT]);
        host.write_all(&message(100, 2)).unwrap();
        pump.work().unwrap();
        assert_eq!(read(&kernel), message(100, 2));
        let mut received = Vec::new();
        while received.len() < sent * request.len() {
            received.extend(read(&host));
            pump.work().unwrap();
        }
        assert_eq!(received, request.repeat(sent));
        assert_eq!(events(&pump), [PollFlags::POLLIN, PollFlags::POLLIN]);
    }

    #[test]
    fn a_host_that_is_gone_or_sends_no_fuse_ends_the_pump() {
        let (mut pump, _kernel, host) = self::pump();
        drop(host);
        assert_eq!(pump.work(), Err("the host has closed the files port".to_owned()));
        let (mut pump, _kernel, mut host) = self::pump();
        host.write_all(b"garbage!").unwrap();
        assert!(pump.work().unwrap_err().starts_with("the host sent a FUSE message of "));
    }
}
