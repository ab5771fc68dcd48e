//! A small FUSE client: what a guest's kernel would send, by hand.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;

use crate::{ServeError, View, serve};

pub(super) const ROOT: u64 = 1;

pub(super) const LOOKUP: u32 = 1;
pub(super) const FORGET: u32 = 2;
pub(super) const GETATTR: u32 = 3;
pub(super) const READLINK: u32 = 5;
pub(super) const READ: u32 = 15;
pub(super) const STATFS: u32 = 17;
pub(super) const INIT: u32 = 26;
pub(super) const READDIR: u32 = 28;
pub(super) const BATCH_FORGET: u32 = 42;
pub(super) const READDIRPLUS: u32 = 44;

/// What a lookup or a GETATTR answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub node: u64,
    pub inode: u64,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: Vec<u8>,
    pub inode: u64,
    pub offset: u64,
    pub kind: u32,
    /// With READDIRPLUS only; 0 if it was not looked up.
    pub node: u64,
}

pub(super) struct Client {
    port: UnixStream,
    service: JoinHandle<Result<(), ServeError>>,
    unique: u64,
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A request, with a header of the right length.
pub(super) fn request(opcode: u32, unique: u64, node: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(40 + body.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(opcode.to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes.extend(node.to_ne_bytes());
    // User, group, process, padding.
    bytes.extend([0; 16]);
    bytes.extend(body);
    bytes
}

/// `struct fuse_read_in`
pub(super) fn read_in(offset: u64, size: u32) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend(offset.to_ne_bytes());
    body.extend(size.to_ne_bytes());
    body.extend([0; 20]);
    body
}

/// `struct fuse_init_in` of Linux 6.1.
pub(super) fn init_in() -> Vec<u8> {
    let mut body = [7_u32, 38, 1 << 20, u32::MAX, u32::MAX].map(u32::to_ne_bytes).concat();
    body.extend([0; 44]);
    body
}

fn attributes(node: u64, attr: &[u8]) -> Attributes {
    Attributes {
        node,
        inode: long(attr, 0),
        size: long(attr, 8),
        mode: number(attr, 60),
        uid: number(attr, 68),
        gid: number(attr, 72),
        rdev: number(attr, 76),
    }
}

impl Client {
    /// A guest that has not mounted yet.
    pub(super) fn connect(view: &View) -> Self {
        let (port, other_end) = UnixStream::pair().unwrap();
        let view = view.clone();
        let service = std::thread::spawn(move || serve(other_end, &view));
        Self { port, service, unique: 0 }
    }

    pub(super) fn mount(view: &View) -> Self {
        let mut client = Self::connect(view);
        client.ask(INIT, 0, &init_in()).unwrap();
        client
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.port.write_all(bytes).unwrap();
    }

    /// The error (negative) or 0, and the body of the next reply.
    pub(super) fn reply(&mut self) -> (i32, Vec<u8>) {
        let mut header = [0; 16];
        self.port.read_exact(&mut header).unwrap();
        assert_eq!(long(&header, 8), self.unique, "the reply is to another request");
        let mut body = vec![0; number(&header, 0) as usize - 16];
        self.port.read_exact(&mut body).unwrap();
        (number(&header, 4).cast_signed(), body)
    }

    /// The body of the reply, or the positive error.
    pub(super) fn ask(&mut self, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        self.unique += 1;
        self.send(&request(opcode, self.unique, node, body));
        match self.reply() {
            (0, body) => Ok(body),
            (error, _) => Err(-error),
        }
    }

    /// A missing name is `ENOENT`, though the reply is an entry with node 0 that may be remembered.
    pub(super) fn look_up(&mut self, parent: u64, name: impl AsRef<[u8]>) -> Result<Attributes, i32> {
        let reply = self.ask(LOOKUP, parent, &[name.as_ref(), b"\0"].concat())?;
        match long(&reply, 0) {
            0 => Err(libc::ENOENT),
            node => Ok(attributes(node, &reply[40..])),
        }
    }

    /// Looks up every name of an absolute path.
    pub(super) fn walk(&mut self, path: impl AsRef<Path>) -> Result<Attributes, i32> {
        let mut found = self.attributes(ROOT)?;
        for name in path.as_ref().strip_prefix("/").unwrap() {
            found = self.look_up(found.node, name.as_bytes())?;
        }
        Ok(found)
    }

    pub(super) fn attributes(&mut self, node: u64) -> Result<Attributes, i32> {
        let reply = self.ask(GETATTR, node, &[0; 16])?;
        Ok(attributes(node, &reply[16..]))
    }

    pub(super) fn read(&mut self, node: u64, offset: u64, size: u32) -> Result<Vec<u8>, i32> {
        self.ask(READ, node, &read_in(offset, size))
    }

    /// Reads a whole small file.
    pub(super) fn content(&mut self, path: impl AsRef<Path>) -> Result<Vec<u8>, i32> {
        let node = self.walk(path)?.node;
        self.read(node, 0, 1 << 20)
    }

    pub(super) fn read_link(&mut self, node: u64) -> Result<Vec<u8>, i32> {
        self.ask(READLINK, node, &[])
    }

    /// Sends a FORGET, which has no reply.
    pub(super) fn forget(&mut self, node: u64, count: u64) {
        self.send(&request(FORGET, 0, node, &count.to_ne_bytes()));
    }

    /// One reply to READDIR or READDIRPLUS.
    pub(super) fn list_from(&mut self, opcode: u32, node: u64, offset: u64) -> Result<Vec<Listed>, i32> {
        let reply = self.ask(opcode, node, &read_in(offset, 32 << 10))?;
        let mut rest = reply.as_slice();
        let mut listed = Vec::new();
        while !rest.is_empty() {
            let mut node = 0;
            if opcode == READDIRPLUS {
                node = long(rest, 0);
                rest = &rest[128..];
            }
            let length = number(rest, 16) as usize;
            listed.push(Listed {
                inode: long(rest, 0),
                offset: long(rest, 8),
                kind: number(rest, 20),
                name: rest[24..24 + length].to_vec(),
                node,
            });
            rest = &rest[(24 + length).next_multiple_of(8)..];
        }
        Ok(listed)
    }

    /// All entries, but `.` and `..`.
    pub(super) fn list(&mut self, opcode: u32, path: impl AsRef<Path>) -> Result<Vec<Listed>, i32> {
        let node = self.walk(path)?.node;
        let (mut all, mut offset) = (Vec::new(), 0);
        loop {
            let some = self.list_from(opcode, node, offset)?;
            let Some(last) = some.last() else { break };
            offset = last.offset;
            all.extend(some);
        }
        assert_eq!([&*all[0].name, &*all[1].name], [b".".as_slice(), b".."]);
        all.drain(..2);
        Ok(all)
    }

    /// The names of a directory, which must be the same in both kinds of lists.
    pub(super) fn names(&mut self, path: impl AsRef<Path>) -> Result<Vec<String>, i32> {
        let path = path.as_ref();
        let names = |listed: Vec<Listed>| -> Vec<String> {
            listed.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect()
        };
        let plain = names(self.list(READDIR, path)?);
        let mut plus = self.list(READDIRPLUS, path)?;
        plus.retain(|entry| entry.node != 0);
        assert_eq!(plain, names(plus));
        Ok(plain)
    }

    /// Closes the port, and gives what the service came to.
    pub(super) fn close(self) -> Result<(), ServeError> {
        drop(self.port);
        self.service.join().expect("the service does not panic")
    }

    /// What the service came to that has ended by itself, with the port open for its replies.
    pub(super) fn end(self) -> Result<(), ServeError> {
        // A service that has ended has closed the port.
        let _ = self.port.shutdown(Shutdown::Write);
        let end = self.service.join().expect("the service does not panic");
        drop(self.port);
        end
    }
}
