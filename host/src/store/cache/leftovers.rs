//! Files that were being written when their vmlab was killed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::disk;
use super::entry::{Entry, Found, Kind, Way};
use crate::store::CacheError;

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
                let files = files.iter().filter(|(name, _)| name.starts_with(PREFIX));
                files.for_each(|(_, path)| found.take(look(path, now)));
            }
            Err(error) if below.is_empty() => found.errors.push(error),
            Err(_) => {}
        }
    }
    found
}

fn look(path: &Path, now: SystemTime) -> Result<Option<Entry>, CacheError> {
    let Some(modified) = disk::modified(path)? else { return Ok(None) };
    let being_written = now.duration_since(modified).is_ok_and(|age| age < WRITTEN_WITHIN);
    Ok(Some(Entry {
        kind: Kind::Leftover,
        what: "half a file".to_owned(),
        path: path.to_owned(),
        size_bytes: disk::usage(path)?,
        last_used: modified,
        in_use: being_written,
        pinned_by: Vec::new(),
        useless: Some("the vmlab that wrote it has ended".to_owned()),
        way: Way::default(),
    }))
}
