//! The memos in the cache, for whoever lists it or makes room.

use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use super::{Fingerprint, Json, Kept, json};
use crate::cache::disk;
use crate::cache::entry::{Entry, Found, Kind};

/// All memos.
#[must_use]
pub fn inventory(cache: &Path) -> Found {
    let mut found = Found::default();
    match disk::list(&super::root(cache)) {
        Ok(files) => {
            for (name, path) in files {
                if name.ends_with(".json") && !name.starts_with('.') {
                    found.entries.extend(look(path));
                }
            }
        }
        Err(error) => found.errors.push(error),
    }
    found
}

fn look(path: PathBuf) -> Option<Entry> {
    let nothing = || "nothing that can be read".to_owned();
    let (what, useless, unreadable) = match json::read::<Kept<IgnoredAny>>(&path) {
        Ok(Json::Missing) => return None,
        Ok(Json::Malformed(what)) => (nothing(), Some(what), None),
        Ok(Json::Read(kept)) => {
            let changed = kept.files.iter().find(|(file, then)| Fingerprint::of(file).ok().as_ref() != Some(then));
            let about = kept.files.first().map(|(file, _)| format!(" of {}", file.display()));
            let useless = changed.map(|(file, _)| format!("{} is not what it was", file.display()));
            (kept.kind + &about.unwrap_or_default(), useless, None)
        }
        Err(error) => (nothing(), None, Some(error.cause())),
    };
    Some(Entry { useless, unreadable, ..Entry::at(Kind::Memo, what, path) })
}
