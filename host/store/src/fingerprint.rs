//! Telling whether a file was written to, at the price of a stat.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What stat(2) says of a file that changes with every change of its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size_bytes: u64,
    /// ns since 1970 UTC.
    modified_ns: i128,
    /// Likewise; unlike `modified_ns` nobody can set it (inode(7)).
    changed_ns: i128,
}

impl Fingerprint {
    /// Of the file that a path leads to.
    ///
    /// # Errors
    /// As stat(2).
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from(&metadata))
    }

    /// Size of the file.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// When the file was last changed, ns since 1970 UTC.
    #[must_use]
    pub const fn changed_ns(&self) -> i128 {
        self.changed_ns
    }
}

impl From<&Metadata> for Fingerprint {
    fn from(file: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: file.dev(),
            inode: file.ino(),
            size_bytes: file.len(),
            modified_ns: nanoseconds(file.mtime(), file.mtime_nsec()),
            changed_ns: nanoseconds(file.ctime(), file.ctime_nsec()),
        }
    }
}
