//! Leftovers of killed processes and of older versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::disk;
use super::entry::{Entry, EntryKind, Listing};

/// Files that no process can use. Other kinds list the leftovers of creating their own entries.
pub static LEFTOVER: EntryKind = EntryKind {
    name: "leftover",
    plural: "leftovers",
    help: "What killed and older versions of vmlab left behind",
    rank: Some(0),
    list,
};

/// The prefix of temporary files ([`crate::atomic::write`]).
const PREFIX: &str = ".tmp";
/// The age from which a temporary file counts as left behind. Writing it takes only some ms.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3600);
/// Files of vmlab before December 2026, which this version does not read.
pub const OLDER: [&str; 2] = ["memo", "accel.json"];

fn list(cache: &Path) -> Listing {
    let mut listing = half_written(cache);
    if let Err(error) = disk::list(cache) {
        listing.errors.push(error);
    }
    let older = OLDER.map(|name| cache.join(name)).into_iter().filter(|path| fs::symlink_metadata(path).is_ok());
    let useless = || Some("this version of vmlab does not use it".to_owned());
    let what = || "facts of an older version of vmlab".to_owned();
    listing.entries.extend(older.map(|path| Entry { useless: useless(), ..Entry::at(&LEFTOVER, what(), path) }));
    listing
}

/// The temporary files in a directory. An unreadable directory counts as empty: the code that lists its entries reports
/// the error.
#[must_use]
pub fn half_written(dir: &Path) -> Listing {
    let files = disk::list(dir).unwrap_or_default().into_iter().filter(|(name, _)| name.starts_with(PREFIX));
    Listing { entries: files.map(|(_, path)| look(path)).collect(), errors: Vec::new() }
}

fn look(path: PathBuf) -> Entry {
    let entry = Entry::at(&LEFTOVER, "an incomplete file".to_owned(), path);
    let being_written = SystemTime::now().duration_since(entry.last_used).is_ok_and(|age| age < WRITTEN_WITHIN);
    Entry { in_use: being_written, useless: Some("the process that wrote it has ended".to_owned()), ..entry }
}
