//! Requests of a guest, as far as vmlab reads them itself: their headers, and what is done with each operation.
//!
//! The numbers are those of `enum fuse_opcode` in the kernel's include/uapi/linux/fuse.h. fuse-backend-rs 0.14 converts an
//! opcode without a check, so it gets only those that are handled here.

use nix::errno::Errno;

/// The length of a request's header, `struct fuse_in_header`, in bytes.
pub(crate) const HEADER: usize = 40;
/// The longest request, in bytes: 1 MiB of data behind its headers, if a guest writes nevertheless.
pub(crate) const LONGEST: usize = (1 << 20) + 4096;

/// The beginning of a request's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub length: usize,
    pub opcode: u32,
    /// The number that the reply repeats.
    pub unique: u64,
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// The library decodes it and asks the file system.
    Answer,
    /// It has no reply, and needs none.
    Ignore,
    /// It is refused without a look at what it says.
    Refuse(Errno),
}

impl Header {
    /// Reads a header. The protocol has the byte order of the guest, which is that of the host.
    pub(crate) fn read(bytes: &[u8; HEADER]) -> Self {
        let [l0, l1, l2, l3, o0, o1, o2, o3, u0, u1, u2, u3, u4, u5, u6, u7, ..] = *bytes;
        Self {
            length: u32::from_ne_bytes([l0, l1, l2, l3]) as usize,
            opcode: u32::from_ne_bytes([o0, o1, o2, o3]),
            unique: u64::from_ne_bytes([u0, u1, u2, u3, u4, u5, u6, u7]),
        }
    }
}

pub(crate) fn handling(opcode: u32) -> Handling {
    match opcode {
        // LOOKUP, FORGET, GETATTR, READLINK, READ, STATFS, INIT, READDIR, BATCH_FORGET, READDIRPLUS
        1 | 2 | 3 | 5 | 15 | 17 | 26 | 28 | 42 | 44 => Handling::Answer,
        // INTERRUPT: requests are answered in order, so the interrupted request has its reply. NOTIFY_REPLY: nothing was asked.
        36 | 41 => Handling::Ignore,
        // SETATTR, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, WRITE
        4 | 6 | 8 | 9 | 10 | 11 | 12 | 13 | 16 => Handling::Refuse(Errno::EROFS),
        // SETXATTR, REMOVEXATTR, CREATE, FALLOCATE, RENAME2, COPY_FILE_RANGE, SETUPMAPPING, REMOVEMAPPING, TMPFILE,
        // COPY_FILE_RANGE_64
        21 | 24 | 35 | 43 | 45 | 47 | 48 | 49 | 51 | 53 => Handling::Refuse(Errno::EROFS),
        // IOCTL: overlayfs asks for a file's flags before it copies the file up, and takes this as "there are none".
        39 => Handling::Refuse(Errno::ENOTTY),
        // After one ENOSYS, the kernel works without the operation and does not ask again: OPEN, OPENDIR (no handles),
        // FLUSH, RELEASE, RELEASEDIR, FSYNC, FSYNCDIR, SYNCFS (nothing to do), ACCESS (it checks modes itself), LSEEK (files
        // have no holes), POLL, GETLK, SETLK, SETLKW (locks are local), STATX. GETXATTR and LISTXATTR as well: the kernel
        // makes EOPNOTSUPP of it, which overlayfs takes as "no attributes".
        _ => Handling::Refuse(Errno::ENOSYS),
    }
}

/// A reply that consists of an error (`struct fuse_out_header`).
pub(crate) fn refusal(unique: u64, error: Errno) -> [u8; 16] {
    let mut reply = [0; 16];
    reply[..4].copy_from_slice(&16_u32.to_ne_bytes());
    reply[4..8].copy_from_slice(&(-(error as i32)).to_ne_bytes());
    reply[8..].copy_from_slice(&unique.to_ne_bytes());
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_that_writes_is_refused() {
        let writing = [4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 48, 49, 51, 53];
        for opcode in writing {
            assert_eq!(handling(opcode), Handling::Refuse(Errno::EROFS), "{opcode}");
        }
    }

    #[test]
    fn unknown_operations_are_refused() {
        for opcode in [0, 7, 19, 33, 54, 55, 56, 57, 100, 4095, 4096, 0x1a00_0000, u32::MAX] {
            assert_eq!(handling(opcode), Handling::Refuse(Errno::ENOSYS), "{opcode}");
        }
        assert_eq!(handling(39), Handling::Refuse(Errno::ENOTTY));
    }

    #[test]
    fn headers_and_refusals_have_the_form_of_the_protocol() {
        let mut bytes = [0; HEADER];
        bytes[0] = 41;
        bytes[4] = 15;
        bytes[8] = 9;
        assert_eq!(Header::read(&bytes), Header { length: 41, opcode: 15, unique: 9 });
        let reply = refusal(9, Errno::EROFS);
        assert_eq!(reply[..8], [16, 0, 0, 0, 226, 255, 255, 255], "16 bytes, error -30");
        assert_eq!(reply[8..], [9, 0, 0, 0, 0, 0, 0, 0]);
    }
}
