//! Removing an entry so that no other process sees half of it, uses it or makes it meanwhile.
//!
//! A process that makes an entry has the entry's lock, one that uses it has a lease, and one that puts it in place has
//! the lock on changes. Here all three are taken exclusively before anything is touched. A process that is killed on the
//! way leaves a leftover with a free lock, which the next listing finds.

use std::fs;
use std::path::Path;

use super::entry::Entry;
use crate::lease::{Exclusive, Lease};
use crate::lock::{Lock, Mode};
use crate::{CacheError, atomic, changes_lock};

/// The result of removing an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, now or since it was listed.
    Gone,
    /// Another process makes or uses it.
    InUse,
}

/// Whether another process makes or uses an entry at this moment.
pub(super) fn is_in_use(entry: &Entry) -> Result<bool, CacheError> {
    if let Some(lock) = &entry.disposal.lock
        && !Lock::is_free(lock)?
    {
        return Ok(true);
    }
    Ok(matches!(Lease::exclusive(&entry.path)?, Exclusive::InUse))
}

/// Removes an entry.
///
/// # Errors
/// [`CacheError`]; it is then there as before, or a leftover.
pub fn remove(cache: &Path, entry: &Entry) -> Result<Removal, CacheError> {
    let Some(path) = &entry.disposal.lock else { return dispose(cache, entry) };
    let Some(lock) = Lock::try_take(path)? else { return Ok(Removal::InUse) };
    let removal = dispose(cache, entry);
    lock.remove()?;
    removal
}

fn dispose(cache: &Path, entry: &Entry) -> Result<Removal, CacheError> {
    let Entry { path, disposal, .. } = entry;
    let out_of_reach = {
        let _changes = Lock::wait(&changes_lock(cache), Mode::Exclusive)?;
        let _lease = match Lease::exclusive(path)? {
            Exclusive::Taken(lease) => lease,
            Exclusive::InUse => return Ok(Removal::InUse),
            Exclusive::Gone => return Ok(Removal::Gone),
        };
        if let Some(unlink) = disposal.unlink
            && !unlink(cache, entry)?
        {
            return Ok(Removal::InUse);
        }
        if let Some(aside) = &disposal.aside {
            remove_all(aside)?;
            aside.parent().map_or(Ok(()), atomic::create_dir)?;
            fs::rename(path, aside).map_err(CacheError::on("move aside", path))?;
            Some(aside.as_path())
        } else if disposal.lock.is_some() {
            Some(path.as_path())
        } else {
            remove_all(path)?;
            None
        }
    };
    // Its own lock is enough for what is left to do, which may take its time.
    out_of_reach.map_or(Ok(()), remove_all)?;
    disposal.after.iter().try_for_each(|path| remove_all(path))?;
    Ok(Removal::Gone)
}

fn remove_all(path: &Path) -> Result<(), CacheError> {
    atomic::remove_tree(path).map_err(CacheError::on("remove", path))
}
