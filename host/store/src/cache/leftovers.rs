//! Files that were being written when their vmlab was killed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::disk;
use super::entry::{Entry, Found, Kind};

/// What the names of files that are not whole yet begin with ([`tempfile::NamedTempFile`]).
const PREFIX: &str = ".tmp";
/// Writing such a file takes some ms. One that is older than this belongs to nobody.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3600);

/// All of them in the directories of the cache into which files are written.
#[must_use]
pub fn inventory(cache: &Path, now: SystemTime) -> Found {
    let mut found = Found::default();
    for below in ["", "images", "memo", "unpacked", "kernels/refs"] {
        // Who cannot list these says so where it looks for entries; only the first is nobody else's.
        match disk::list(&cache.join(below)) {
            Ok(files) => {
                let files = files.into_iter().filter(|(name, _)| name.starts_with(PREFIX));
                found.entries.extend(files.map(|(_, path)| look(path, now)));
            }
            Err(error) if below.is_empty() => found.errors.push(error),
            Err(_) => {}
        }
    }
    found
}

fn look(path: PathBuf, now: SystemTime) -> Entry {
    let entry = Entry::at(Kind::Leftover, "half a file".to_owned(), path);
    let being_written = now.duration_since(entry.last_used).is_ok_and(|age| age < WRITTEN_WITHIN);
    Entry { in_use: being_written, useless: Some("the vmlab that wrote it has ended".to_owned()), ..entry }
}
