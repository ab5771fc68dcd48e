//! The entries of the cache: their kinds, sizes, last use, and how they are removed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::disk;
use crate::CacheError;

/// A kind of entries. The crate that creates such entries defines the kind; a program lists the kinds that it uses.
pub struct EntryKind {
    /// The singular, for example `template`.
    pub name: &'static str,
    /// The plural, for example `templates`.
    pub plural: &'static str,
    /// A description for the user, for example `Booted guests`.
    pub help: &'static str,
    /// The order of removal to make room, lowest first. `None` for entries that are never removed to make room.
    pub rank: Option<u8>,
    /// Lists the entries of this kind in a cache directory, and the leftovers of creating such entries.
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

/// An entry of the cache.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The kind of the entry.
    pub kind: &'static EntryKind,
    /// A description for the user, in one line.
    pub what: String,
    /// The entry's file or directory.
    pub path: PathBuf,
    /// The allocated disk space, in bytes.
    pub size_bytes: u64,
    /// The time of the last use if the cache records it, otherwise of the creation.
    #[serde(rename = "last_used_unix_ms", serialize_with = "unix_ms")]
    pub last_used: SystemTime,
    /// Whether a process creates or uses the entry at this moment.
    pub in_use: bool,
    /// The kernel sources that refer to exactly this kernel, for example `debian:trixie`.
    pub pinned_by: Vec<String>,
    /// The reason why the entry cannot be used any more, if so.
    pub useless: Option<String>,
    /// The error of reading the entry or a part of it, if any.
    pub unreadable: Option<String>,
    /// How the entry is removed.
    #[serde(skip)]
    pub disposal: Disposal,
}

impl Entry {
    /// The entry at a path, with the size and time that stat(2) reports.
    #[must_use]
    pub fn at(kind: &'static EntryKind, what: String, path: PathBuf) -> Self {
        let disk::Usage { bytes, unreadable } = disk::usage(&path);
        // If the time cannot be read, the size cannot be read either, and `unreadable` says so.
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

    /// Takes the time of the last use from the modification time of `file`, if it exists.
    #[must_use]
    pub fn used_as(self, file: &Path) -> Self {
        match disk::modified(file) {
            Ok(last_used) => Self { last_used: last_used.unwrap_or(self.last_used), ..self },
            Err(error) => Self { unreadable: self.unreadable.or_else(|| Some(error.cause())), ..self },
        }
    }
}

/// Removes the references to an entry, such as a kernel's pins. Returns false if they have changed since the entry was
/// listed; the entry then stays.
pub type Unlink = fn(&Path, &Entry) -> Result<bool, CacheError>;

/// How an entry is removed so that no other process sees half of it.
#[derive(Debug, Clone, Default)]
pub struct Disposal {
    /// The lock of the process that creates the entry. The lock file is removed with the entry.
    pub lock: Option<PathBuf>,
    /// Runs first, under the exclusive lock on changes.
    pub unlink: Option<Unlink>,
    /// The path to which the entry is moved before its removal, in the same file system; leftovers of the same lock are
    /// searched there. `None` for a single file and for a leftover.
    pub aside: Option<PathBuf>,
    /// Files that belong to the entry and are removed last.
    pub after: Vec<PathBuf>,
}

/// The entries that were found, and the errors.
#[derive(Debug, Default)]
pub struct Listing {
    /// In no particular order.
    pub entries: Vec<Entry>,
    /// The errors; each names its path.
    pub errors: Vec<CacheError>,
}

impl Listing {
    /// The contents of a directory as entries, except hidden files; `entry` gets name and path. A missing directory is empty.
    pub fn of_directory(dir: &Path, entry: impl Fn(&str, PathBuf) -> Entry) -> Self {
        match disk::list(dir) {
            Ok(found) => {
                let shown = found.into_iter().filter(|(name, _)| !name.starts_with('.'));
                Self { entries: shown.map(|(name, path)| entry(&name, path)).collect(), errors: Vec::new() }
            }
            Err(error) => Self { entries: Vec::new(), errors: vec![error] },
        }
    }
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
