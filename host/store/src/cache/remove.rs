//! Removes an entry so that no other process sees half of it, or uses or creates it meanwhile.
//!
//! A process that creates an entry has the entry's lock, a process that uses it has a lease, and a process that puts it
//! in place has the lock on changes. This module takes all three exclusively before it changes anything. If it is
//! killed meanwhile, a leftover with a free lock stays, which the next listing finds.

use std::fs;
use std::path::Path;

use super::entry::Entry;
use crate::lease::{Exclusive, Lease};
use crate::lock::{Lock, Mode};
use crate::{CacheError, atomic, changes_lock};

/// The result of removing an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The entry is removed, or was gone already.
    Gone,
    /// Another process creates or uses the entry.
    InUse,
}

/// Whether another process creates or uses an entry at this moment.
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
/// [`CacheError`]; the entry is then unchanged, or a leftover.
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
    // The rest may take long; the entry's own lock is enough for it.
    out_of_reach.map_or(Ok(()), remove_all)?;
    disposal.after.iter().try_for_each(|path| remove_all(path))?;
    Ok(Removal::Gone)
}

fn remove_all(path: &Path) -> Result<(), CacheError> {
    atomic::remove_tree(path).map_err(CacheError::on("remove", path))
}
