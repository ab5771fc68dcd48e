//! Detects changes of a file by stat(2).

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The minimum age of a change. A file that was changed more recently could change again with the same times, because
/// time stamps are coarse.
const STABLE_AFTER: Duration = Duration::from_secs(2);

/// The fields of stat(2) that change with the content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    device: u64,
    inode: u64,
    pub(crate) size_bytes: u64,
    /// In ns since 1970 UTC.
    modified_ns: i128,
    /// The ctime, in ns since 1970 UTC; no process can set it (inode(7)).
    changed_ns: i128,
}

impl Fingerprint {
    /// Reads the fingerprint of a file. Fails as stat(2) does.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from(&metadata))
    }

    /// Whether the last change is so old that every further change alters the fingerprint.
    pub(crate) fn is_stable(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age_ns = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX) - self.changed_ns;
        age_ns > i128::try_from(STABLE_AFTER.as_nanos()).unwrap_or(i128::MAX)
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
