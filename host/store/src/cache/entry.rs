//! The entries of the cache, as the code that makes room sees them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::disk;
use crate::CacheError;

/// A kind of entries. The crate that makes such entries defines it; a program names the kinds that it uses.
pub struct EntryKind {
    /// As `template`.
    pub name: &'static str,
    /// As `templates`.
    pub plural: &'static str,
    /// What such entries are, for the user, as `Booted guests`.
    pub help: &'static str,
    /// The order in which room is made: the lowest goes first. `None` for entries that are never removed to make room.
    pub rank: Option<u8>,
    /// Lists the entries of this kind in a cache directory, and the leftovers of making such entries.
    pub list: fn(&Path) -> Listing,
}

impl PartialEq for EntryKind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for EntryKind {}

impl fmt::Debug for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for EntryKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// An entry of the cache, and how it is removed.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its kind.
    pub kind: &'static EntryKind,
    /// What it is for, in one line for people.
    pub what: String,
    /// Its file or directory.
    pub path: PathBuf,
    /// What it takes on the disk: allocated blocks, not lengths.
    pub size_bytes: u64,
    /// When it was last used, as far as the cache notes that; otherwise when it was made.
    #[serde(rename = "last_used_unix_ms", serialize_with = "unix_ms")]
    pub last_used: SystemTime,
    /// A process makes or uses it at this moment.
    pub in_use: bool,
    /// The sources that mean this kernel and no other, as `debian:trixie`.
    pub pinned_by: Vec<String>,
    /// Why it cannot be used any more, where that is so.
    pub useless: Option<String>,
    /// Why nothing more is known of it, where that is so: this user cannot read it, or a part of it.
    pub unreadable: Option<String>,
    /// How it is removed.
    #[serde(skip)]
    pub disposal: Disposal,
}

impl Entry {
    /// What lies at a path, of which nothing more is known than what stat(2) says.
    #[must_use]
    pub fn at(kind: &'static EntryKind, what: String, path: PathBuf) -> Self {
        let disk::Usage { bytes, unreadable } = disk::usage(&path);
        // Where the time cannot be read, the size cannot be read either, and that is told.
        let last_used = disk::modified(&path).ok().flatten().unwrap_or(SystemTime::UNIX_EPOCH);
        Self {
            kind,
            what,
            path,
            size_bytes: bytes,
            last_used,
            in_use: false,
            pinned_by: Vec::new(),
            useless: None,
            unreadable: unreadable.map(|error| error.cause()),
            disposal: Disposal::default(),
        }
    }

    /// With the time of the file that says when the entry was last used, where there is such a file.
    #[must_use]
    pub fn used_as(self, file: &Path) -> Self {
        match disk::modified(file) {
            Ok(last_used) => Self { last_used: last_used.unwrap_or(self.last_used), ..self },
            Err(error) => Self { unreadable: self.unreadable.or_else(|| Some(error.cause())), ..self },
        }
    }
}

/// Removes what leads to an entry of a cache, such as a kernel's pins; false where that has changed since the entry was
/// listed, and the entry stays.
pub type Unlink = fn(&Path, &Entry) -> Result<bool, CacheError>;

/// How an entry is removed so that no other process sees half of it.
#[derive(Debug, Clone, Default)]
pub struct Disposal {
    /// The process that makes the entry has this lock. Its file is removed with the entry.
    pub lock: Option<PathBuf>,
    /// Runs first, under the exclusive lock on changes.
    pub unlink: Option<Unlink>,
    /// Where it is moved to, in the same file system, before it is removed: a place where leftovers of the same lock are
    /// looked for. `None` for a single file, and for a leftover.
    pub aside: Option<PathBuf>,
    /// Files that mean nothing without the entry, and are removed last.
    pub after: Vec<PathBuf>,
}

/// What was found, and what could not be read.
#[derive(Debug, Default)]
pub struct Listing {
    /// In no particular order.
    pub entries: Vec<Entry>,
    /// Each names its path.
    pub errors: Vec<CacheError>,
}

impl Extend<Self> for Listing {
    fn extend<T: IntoIterator<Item = Self>>(&mut self, others: T) {
        for other in others {
            self.entries.extend(other.entries);
            self.errors.extend(other.errors);
        }
    }
}

fn unix_ms<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
