//! What the cache holds, as those see it who make room.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::disk;
use crate::CacheError;

/// What an entry is. The order is that in which room is made: what is had again soonest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What a vmlab that was killed left behind.
    Leftover,
    /// A booted guest: had again by a boot.
    Template,
    /// A kernel that was taken out of its bzImage: unpacked again in a second or two.
    Unpacked,
    /// An initramfs: built again in a second.
    Image,
    /// A fetched kernel: had again over the network, if the archive still has that version.
    Kernel,
    /// What was found out about files: had again in some ms to seconds each.
    Memo,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Leftover, Self::Template, Self::Unpacked, Self::Image, Self::Kernel, Self::Memo];

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leftover => "leftover",
            Self::Template => "template",
            Self::Unpacked => "unpacked",
            Self::Image => "image",
            Self::Kernel => "kernel",
            Self::Memo => "memo",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An entry of the cache, and how it is taken away.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// What it is for, in one line for people.
    pub what: String,
    /// Its file or directory.
    pub path: PathBuf,
    /// What it takes on the disk: allocated blocks, not lengths.
    pub size_bytes: u64,
    /// When it was last used, as far as the cache notes that; else when it was made.
    #[serde(rename = "last_used_unix_ms", serialize_with = "unix_ms")]
    pub last_used: SystemTime,
    /// A vmlab makes or uses it at this moment.
    pub in_use: bool,
    /// The sources that mean this kernel and no other, as `debian:trixie`.
    pub pinned_by: Vec<String>,
    /// Why nobody can use it any more, where that is so.
    pub useless: Option<String>,
    /// Why this user cannot tell more of it, where that is so: it, or a part of it, cannot be read.
    pub unreadable: Option<String>,
    /// How it is taken away.
    #[serde(skip)]
    pub way: Way,
}

impl Entry {
    /// What lies at a path, of which nothing more is known than what stat(2) says.
    #[must_use]
    pub fn at(kind: Kind, what: String, path: PathBuf) -> Self {
        let disk::Usage { bytes, unreadable } = disk::usage(&path);
        // What cannot be asked for its time could not be asked for its size either.
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
            way: Way::default(),
        }
    }

    /// The time of the file that tells when it was last used, where there is such a file.
    #[must_use]
    pub fn used_as(self, told_by: &Path) -> Self {
        match disk::modified(told_by) {
            Ok(last_used) => Self { last_used: last_used.unwrap_or(self.last_used), ..self },
            Err(error) => Self { unreadable: self.unreadable.or_else(|| Some(error.cause())), ..self },
        }
    }
}

/// How an entry is taken away so that no other vmlab sees half of it.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// Whoever makes it holds this lock. Its file goes with it.
    pub lock: Option<PathBuf>,
    /// What leads to the entry, and goes first.
    pub references: Option<Arc<dyn References>>,
    /// Where it is moved to, in the same file system, before it is removed: a place where leftovers of the same lock are
    /// looked for. `None` for a single file, and for what is a leftover already.
    pub aside: Option<PathBuf>,
    /// Files that mean nothing without it, and go last.
    pub after: Vec<PathBuf>,
}

/// What leads to an entry, as the pins that make a source mean a kernel.
pub trait References: fmt::Debug + Send + Sync {
    /// Removes them; `false` where they are others than when the entry was listed. The caller holds the lock on changes
    /// alone.
    ///
    /// # Errors
    /// [`CacheError`]
    fn remove(&self) -> Result<bool, CacheError>;
}

/// What was found, and what could not be read.
#[derive(Debug, Default)]
pub struct Found {
    /// In no order that means anything.
    pub entries: Vec<Entry>,
    /// Each names its path.
    pub errors: Vec<CacheError>,
}

impl Extend<Self> for Found {
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
