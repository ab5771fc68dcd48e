//! Writes reproducible newc archives: cpio with the magic `070701`, which the kernel unpacks as initramfs.
//!
//! Sources: Documentation/driver-api/early-userspace/buffer-format.rst of Linux 6.12 for the format, and
//! init/initramfs.c for entries that the kernel ignores silently. A node that would be ignored or changed is an error.
//! The same nodes give the same bytes: entries are sorted by path, times are 0, owners are root, inode numbers count
//! from 1.

use std::collections::BTreeMap;

/// The maximum length of paths and symbolic link targets in the kernel, in bytes without the NUL (`PATH_MAX` includes
/// it). The kernel silently skips longer ones.
pub(crate) const MAX_PATH_BYTES: usize = 4095;
/// The maximum size of a file, in bytes: the size field has eight hexadecimal digits.
pub(crate) const MAX_FILE_BYTES: usize = u32::MAX as usize;

const TRAILER: &str = "TRAILER!!!";
const MAX_PERMISSIONS: u16 = 0o7777;

/// A node of the archive. Permissions are the low twelve bits of the mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// An empty directory.
    Directory {
        /// For example `0o755`.
        permissions: u16,
    },
    /// A regular file.
    File {
        /// For example `0o755`.
        permissions: u16,
        /// At most `MAX_FILE_BYTES` bytes.
        content: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// The target: 1 to `MAX_PATH_BYTES` bytes.
        target: String,
    },
    /// A character device.
    CharDevice {
        /// For example `0o600`.
        permissions: u16,
        /// The driver's number.
        major: u32,
        /// The device's number within the driver.
        minor: u32,
    },
}

/// Why an archive cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewcError {
    /// The kernel would not unpack the path unchanged.
    #[error("initramfs path {path:?} is {problem}")]
    BadPath {
        /// The path.
        path: String,
        /// The problem.
        problem: &'static str,
    },
    /// The path was added twice.
    #[error("initramfs path {0:?} was added twice")]
    Duplicate(String),
    /// The parent directory was not added or is no directory.
    #[error("initramfs path {0:?} has no parent directory in the archive")]
    NoParent(String),
    /// The file exceeds `MAX_FILE_BYTES`.
    #[error("initramfs file {path:?} has {size_bytes} bytes, more than the format's limit of {MAX_FILE_BYTES}")]
    FileTooLarge {
        /// The path of the node.
        path: String,
        /// The file's size, in bytes.
        size_bytes: usize,
    },
    /// The symbolic link's target is empty, longer than `MAX_PATH_BYTES`, or contains a NUL.
    #[error("initramfs symlink {0:?} has a target that is empty, too long, or contains a NUL")]
    BadTarget(String),
    /// The permissions have more than the low twelve bits of the mode.
    #[error("initramfs path {path:?} has permissions {permissions:o}; the maximum is {MAX_PERMISSIONS:o}")]
    BadPermissions {
        /// The path of the node.
        path: String,
        /// The permissions.
        permissions: u16,
    },
    /// The archive has more nodes than the format has inode numbers.
    #[error("the initramfs has more nodes than the format has inode numbers")]
    TooManyNodes,
}

/// An archive under construction.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    /// Adds a node at `path`, which is relative to the root, for example `dev/console`. The order of calls does not
    /// matter, but the parent directories must be added before [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`NewcError`] if the node is invalid or the path was already added.
    pub fn add(&mut self, path: &str, node: Node) -> Result<(), NewcError> {
        check_path(path)?;
        check_node(path, &node)?;
        if self.nodes.contains_key(path) {
            return Err(NewcError::Duplicate(path.to_owned()));
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    /// The archive with its trailer. The length is a multiple of 4 bytes.
    ///
    /// # Errors
    /// [`NewcError::NoParent`] and [`NewcError::TooManyNodes`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, NewcError> {
        let mut out = Vec::new();
        // In byte order, a directory comes before its contents, because its path is a prefix of theirs.
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
        "longer than the kernel's limit (4095 bytes)"
    } else if path == TRAILER {
        "the name that ends an archive"
    } else if path.contains('\0') {
        "invalid: it contains a NUL"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "invalid: it is absolute, or has an empty part, `.` or `..`"
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

/// The header fields that may differ from 0, in the order of the format.
#[derive(Debug, Default)]
struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    rdev_major: u32,
    rdev_minor: u32,
}

fn write_entry(out: &mut Vec<u8>, inode: u32, path: &str, node: &Node) {
    // The file types of inode(7).
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
    // The link count is 1: from 2 on the kernel looks for a hard link. Directories have the usual 2.
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

/// Pads to a multiple of 4 bytes from the archive's start, after header with name and after content.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests;
