//! The memos in the cache, for whoever lists it or makes room.

use std::path::Path;
use std::time::SystemTime;

use serde::de::IgnoredAny;

use super::{Fingerprint, Json, Kept, json};
use crate::store::CacheError;
use crate::store::cache::disk;
use crate::store::cache::entry::{Entry, Found, Kind, Way};

/// All memos.
#[must_use]
pub fn inventory(cache: &Path) -> Found {
    let mut found = Found::default();
    match disk::list(&super::root(cache)) {
        Ok(files) => {
            for (name, path) in files {
                if name.ends_with(".json") && !name.starts_with('.') {
                    found.take(look(&path));
                }
            }
        }
        Err(error) => found.errors.push(error),
    }
    found
}

fn look(path: &Path) -> Result<Option<Entry>, CacheError> {
    let (what, useless) = match json::read::<Kept<IgnoredAny>>(path)? {
        Json::Missing => return Ok(None),
        Json::Malformed(what) => ("nothing that can be read".to_owned(), Some(what)),
        Json::Read(kept) => {
            let changed = kept.files.iter().find(|(file, then)| Fingerprint::of(file).ok().as_ref() != Some(then));
            let about = kept.files.first().map(|(file, _)| format!(" of {}", file.display()));
            let useless = changed.map(|(file, _)| format!("{} is not what it was", file.display()));
            (kept.kind + &about.unwrap_or_default(), useless)
        }
    };
    Ok(Some(Entry {
        kind: Kind::Memo,
        what,
        path: path.to_owned(),
        size_bytes: disk::usage(path)?,
        last_used: disk::modified(path)?.unwrap_or(SystemTime::UNIX_EPOCH),
        in_use: false,
        pinned_by: Vec::new(),
        useless,
        way: Way::default(),
    }))
}
