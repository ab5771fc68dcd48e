//! The images in the cache, for whoever lists it or makes room.

use std::path::Path;
use std::time::SystemTime;

use super::{Place, SUFFIX};
use crate::store::CacheError;
use crate::store::cache::disk;
use crate::store::cache::entry::{Entry, Found, Kind, Way};

/// Characters of a hash that people are shown.
const SHORT: usize = 12;

/// All images.
#[must_use]
pub fn inventory(cache: &Path) -> Found {
    let mut found = Found::default();
    match disk::list(&super::root(cache)) {
        Ok(files) => {
            for (name, _) in files {
                if let Some(sha256) = name.strip_suffix(SUFFIX) {
                    found.take(look(cache, sha256).map(Some));
                }
            }
        }
        Err(error) => found.errors.push(error),
    }
    found
}

fn look(cache: &Path, sha256: &str) -> Result<Entry, CacheError> {
    let Place { path, used } = Place::new(cache, sha256);
    let last_used = disk::modified(&used)?.or(disk::modified(&path)?);
    Ok(Entry {
        kind: Kind::Image,
        what: format!("initramfs {}", sha256.chars().take(SHORT).collect::<String>()),
        size_bytes: disk::usage(&path)?,
        last_used: last_used.unwrap_or(SystemTime::UNIX_EPOCH),
        in_use: false,
        pinned_by: Vec::new(),
        useless: None,
        way: Way { after: vec![used], ..Way::default() },
        path,
    })
}
