//! Telling whether a file was written to, at the price of a stat.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A file that was changed more recently could be changed again without a change of its times.
const SETTLED: Duration = Duration::from_secs(2);

/// What stat(2) says of a file that changes with every change of its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    device: u64,
    inode: u64,
    pub(crate) size_bytes: u64,
    /// ns since 1970 UTC.
    modified_ns: i128,
    /// Likewise; no process can set it (inode(7)).
    changed_ns: i128,
}

impl Fingerprint {
    /// Of the file that a path leads to; fails as stat(2) does.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from(&metadata))
    }

    /// Whether the file was changed so long ago that every further change shows in its fingerprint.
    pub(crate) fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age_ns = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX) - self.changed_ns;
        age_ns > i128::try_from(SETTLED.as_nanos()).unwrap_or(i128::MAX)
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
