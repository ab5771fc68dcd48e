//! A reproducible writer of newc archives: cpio with the magic `070701`, which the kernel unpacks as its initramfs.
//!
//! Source of the format: Documentation/driver-api/early-userspace/buffer-format.rst of Linux 6.12, and for what the
//! kernel passes over in silence, its init/initramfs.c. What would not arrive in the guest as it was given is an error
//! here. The same nodes give the same bytes: entries are sorted by path, times are 0, owners are root, inode numbers
//! count from 1.

use std::collections::BTreeMap;

/// The longest path and the longest symlink target that the kernel takes, in bytes without the closing NUL (`PATH_MAX`
/// counts it); it skips what is longer and says nothing.
pub const MAX_PATH_BYTES: usize = 4095;
/// The largest file, in bytes: its size has eight hexadecimal digits.
pub const MAX_FILE_BYTES: usize = u32::MAX as usize;

const TRAILER: &str = "TRAILER!!!";
const MAX_PERMISSIONS: u16 = 0o7777;

/// What lies at a path. Permissions are the low twelve bits of the mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory {
        /// As `0o755`.
        permissions: u16,
    },
    /// A regular file.
    File {
        /// As `0o755`.
        permissions: u16,
        /// At most [`MAX_FILE_BYTES`].
        content: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to; neither empty nor longer than [`MAX_PATH_BYTES`].
        target: String,
    },
    /// A character device.
    CharDevice {
        /// As `0o600`.
        permissions: u16,
        /// Its driver's number.
        major: u32,
        /// Its number among the driver's devices.
        minor: u32,
    },
}

/// Why an archive cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewcError {
    /// The path is not one that arrives in the guest as it was given.
    #[error("initramfs path {path:?} is {problem}")]
    BadPath {
        /// As given.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two nodes at one path.
    #[error("initramfs path {0:?} was added twice")]
    Duplicate(String),
    /// The directory that should hold a node was never added, or is no directory.
    #[error("initramfs path {0:?} lies in no directory of the archive")]
    NoParent(String),
    /// A file of more than [`MAX_FILE_BYTES`].
    #[error("initramfs file {path:?} has {size_bytes} bytes, and the format ends at {MAX_FILE_BYTES}")]
    FileTooLarge {
        /// Its path.
        path: String,
        /// Its size.
        size_bytes: usize,
    },
    /// A symlink with an empty target, one longer than [`MAX_PATH_BYTES`], or one with a NUL.
    #[error("initramfs symlink {0:?} has a target that is empty, too long or holds a NUL")]
    BadTarget(String),
    /// Permissions beyond the low twelve bits of the mode.
    #[error("initramfs path {path:?} has permissions {permissions:o}, and {MAX_PERMISSIONS:o} are all there are")]
    BadPermissions {
        /// Its path.
        path: String,
        /// As given.
        permissions: u16,
    },
    /// More nodes than inode numbers.
    #[error("the initramfs has more nodes than the format has inode numbers")]
    TooManyNodes,
}

/// An archive in the making.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    /// Puts a node at `path`, which is relative to the root: `init`, `dev/console`. The order of calls is no matter; the
    /// directories above must have been added by the time of [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`NewcError`] where the node cannot be written, or the path is taken.
    pub fn add(&mut self, path: &str, node: Node) -> Result<(), NewcError> {
        check_path(path)?;
        check_node(path, &node)?;
        if self.nodes.contains_key(path) {
            return Err(NewcError::Duplicate(path.to_owned()));
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    /// The archive, with its trailer; its length is a multiple of 4.
    ///
    /// # Errors
    /// [`NewcError::NoParent`] and [`NewcError::TooManyNodes`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, NewcError> {
        let mut out = Vec::new();
        // Sorted by bytes, a directory comes before all that lies in it, as its path is the beginning of theirs.
        for (index, (path, node)) in self.nodes.iter().enumerate() {
            if let Some((parent, _)) = path.rsplit_once('/')
                && !matches!(self.nodes.get(parent), Some(Node::Directory { .. }))
            {
                return Err(NewcError::NoParent(path.clone()));
            }
            let inode = u32::try_from(index + 1).map_err(|_| NewcError::TooManyNodes)?;
            write_entry(&mut out, inode, path, node);
        }
        write_raw(&mut out, &Header { links: 1, ..Header::default() }, TRAILER, &[]);
        Ok(out)
    }
}

fn check_path(path: &str) -> Result<(), NewcError> {
    let problem = if path.is_empty() {
        "empty"
    } else if path.len() > MAX_PATH_BYTES {
        "longer than the kernel takes (4095 bytes)"
    } else if path == TRAILER {
        "the name that ends an archive"
    } else if path.contains('\0') {
        "one with a NUL in it"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "not relative and plain: it has an empty part, `.` or `..`"
    } else {
        return Ok(());
    };
    Err(NewcError::BadPath { path: path.to_owned(), problem })
}

fn check_node(path: &str, node: &Node) -> Result<(), NewcError> {
    match node {
        Node::File { content, .. } if content.len() > MAX_FILE_BYTES => {
            Err(NewcError::FileTooLarge { path: path.to_owned(), size_bytes: content.len() })
        }
        Node::Symlink { target } if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains('\0') => {
            Err(NewcError::BadTarget(path.to_owned()))
        }
        &(Node::Directory { permissions } | Node::File { permissions, .. } | Node::CharDevice { permissions, .. })
            if permissions > MAX_PERMISSIONS =>
        {
            Err(NewcError::BadPermissions { path: path.to_owned(), permissions })
        }
        _ => Ok(()),
    }
}

/// The fields of an entry's header that are ever different from 0, in the order of the format.
#[derive(Debug, Default)]
struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    rdev_major: u32,
    rdev_minor: u32,
}

fn write_entry(out: &mut Vec<u8>, inode: u32, path: &str, node: &Node) {
    // The file types are those of inode(7).
    let (kind, permissions, content): (u32, u16, &[u8]) = match node {
        Node::Directory { permissions } => (0o040_000, *permissions, &[]),
        Node::File { permissions, content } => (0o100_000, *permissions, content),
        Node::Symlink { target } => (0o120_000, 0o777, target.as_bytes()),
        Node::CharDevice { permissions, .. } => (0o020_000, *permissions, &[]),
    };
    let (rdev_major, rdev_minor) = match node {
        Node::CharDevice { major, minor, .. } => (*major, *minor),
        _ => (0, 0),
    };
    // One link: from two on the kernel looks for another name of the same inode. Directories have their usual two.
    let links = if matches!(node, Node::Directory { .. }) { 2 } else { 1 };
    let header = Header { inode, mode: kind | u32::from(permissions), links, rdev_major, rdev_minor };
    write_raw(out, &header, path, content);
}

fn write_raw(out: &mut Vec<u8>, header: &Header, name: &str, content: &[u8]) {
    let Header { inode, mode, links, rdev_major, rdev_minor } = header;
    let (size, name_size) = (content.len(), name.len() + 1);
    let (uid, gid, mtime, device, check) = (0, 0, 0, 0, 0);
    out.extend_from_slice(
        format!(
            "070701{inode:08x}{mode:08x}{uid:08x}{gid:08x}{links:08x}{mtime:08x}{size:08x}{device:08x}{device:08x}\
             {rdev_major:08x}{rdev_minor:08x}{name_size:08x}{check:08x}{name}\0"
        )
        .as_bytes(),
    );
    pad(out);
    out.extend_from_slice(content);
    pad(out);
}

/// Header with name, and content, each end on a multiple of 4 from the archive's start.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests;
