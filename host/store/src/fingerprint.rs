//! Detects changes of a file by stat(2).

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat};
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

    /// The numbers as bytes, for a digest of many.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = u8> {
        let Self { device, inode, size_bytes, modified_ns, changed_ns } = self;
        let sizes = [device, inode, size_bytes].into_iter().flat_map(|number| number.to_le_bytes());
        sizes.chain([modified_ns, changed_ns].into_iter().flat_map(|time| time.to_le_bytes()))
    }

    /// Whether the last change is so old that every further change alters the fingerprint.
    pub(crate) fn is_stable(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age_ns = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX) - self.changed_ns;
        age_ns > i128::try_from(STABLE_AFTER.as_nanos()).unwrap_or(i128::MAX)
    }
}

/// Reads the fingerprints of files below a directory. It opens their directories, so that the kernel looks up the whole path
/// once for files next to each other, and not for each.
#[derive(Debug)]
pub(crate) struct Below<'a> {
    root: &'a Path,
    /// The directory of the last file, relative to the root.
    last: Option<(&'a Path, OwnedFd)>,
}

impl<'a> Below<'a> {
    pub(crate) const fn new(root: &'a Path) -> Self {
        Self { root, last: None }
    }

    /// As [`Fingerprint::of`], for a path relative to the root.
    pub(crate) fn of(&mut self, path: &'a Path) -> io::Result<Fingerprint> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Fingerprint::of(&self.root.join(path));
        };
        let opened = match self.last.take() {
            Some((last, opened)) if last == dir => opened,
            _ => open(&self.root.join(dir), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?,
        };
        let file = fstatat(&opened, name, AtFlags::empty());
        self.last = Some((dir, opened));
        Ok(Fingerprint::from(&file?))
    }
}

impl From<&FileStat> for Fingerprint {
    fn from(file: &FileStat) -> Self {
        Self {
            device: file.st_dev,
            inode: file.st_ino,
            // A size is not negative.
            size_bytes: file.st_size.unsigned_abs(),
            modified_ns: nanoseconds(file.st_mtime, file.st_mtime_nsec),
            changed_ns: nanoseconds(file.st_ctime, file.st_ctime_nsec),
        }
    }
}

impl From<&Metadata> for Fingerprint {
    fn from(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size_bytes: file.len(),
            modified_ns: nanoseconds(file.mtime(), file.mtime_nsec()),
            changed_ns: nanoseconds(file.ctime(), file.ctime_nsec()),
        }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(rest)
}
