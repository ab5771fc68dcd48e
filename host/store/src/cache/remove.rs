//! Taking an entry away so that no other vmlab sees half of it, uses it or makes it meanwhile.
//!
//! Whoever makes an entry holds its lock, whoever uses one holds it shared, and whoever puts one in place holds the lock
//! on changes; here all three are had alone before anything is touched. What is killed on the way leaves a leftover with
//! a free lock, which the next one finds.

use std::fs;
use std::path::Path;

use super::entry::{Entry, Way};
use crate::hold::{Alone, Hold};
use crate::lock::{Lock, Mode};
use crate::{CacheError, atomic, changes_lock};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, now or since it was found.
    Gone,
    /// Another vmlab makes or uses it.
    InUse,
}

/// Whether another vmlab makes or uses an entry at this moment.
///
/// # Errors
/// [`CacheError`]
pub fn is_in_use(entry: &Entry) -> Result<bool, CacheError> {
    if let Some(lock) = &entry.way.lock
        && !Lock::is_free(lock)?
    {
        return Ok(true);
    }
    Ok(matches!(Hold::alone(&entry.path)?, Alone::InUse))
}

/// Takes an entry away.
///
/// # Errors
/// [`CacheError`]; it is then there as before, or a leftover.
pub fn remove(cache: &Path, entry: &Entry) -> Result<Removal, CacheError> {
    let Some(path) = &entry.way.lock else { return take_away(cache, &entry.path, &entry.way) };
    let Some(lock) = Lock::try_take(path)? else { return Ok(Removal::InUse) };
    let removal = take_away(cache, &entry.path, &entry.way);
    lock.remove()?;
    removal
}

fn take_away(cache: &Path, path: &Path, way: &Way) -> Result<Removal, CacheError> {
    let out_of_reach = {
        let _changes = Lock::wait(&changes_lock(cache), Mode::Alone)?;
        let _alone = match Hold::alone(path)? {
            Alone::Held(hold) => hold,
            Alone::InUse => return Ok(Removal::InUse),
            Alone::Gone => return Ok(Removal::Gone),
        };
        if let Some(references) = &way.references
            && !references.remove()?
        {
            return Ok(Removal::InUse);
        }
        if let Some(aside) = &way.aside {
            remove_all(aside)?;
            aside.parent().map_or(Ok(()), atomic::create_dir)?;
            fs::rename(path, aside).map_err(CacheError::on("move aside", path))?;
            Some(aside.as_path())
        } else if way.lock.is_some() {
            Some(path)
        } else {
            remove_all(path)?;
            None
        }
    };
    // Its own lock is enough for what is left to do, which may take its time.
    out_of_reach.map_or(Ok(()), remove_all)?;
    way.after.iter().try_for_each(|path| remove_all(path))?;
    Ok(Removal::Gone)
}

fn remove_all(path: &Path) -> Result<(), CacheError> {
    atomic::remove_tree(path).map_err(CacheError::on("remove", path))
}
