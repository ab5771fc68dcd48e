//! Removing old records.

use std::fs::{self, TryLockError};
use std::io;
use std::path::Path;

use super::{EVENTS, RecordError, run_ids, runs_dir};
use crate::dirs::Dirs;
use crate::regular;

/// The number of records, beside that of the run that is starting, that are not removed.
pub(super) const MAX_RECORDS: usize = 200;

/// Removes all records but the `keep` newest, except those of runs that are going on. Nothing but records is touched.
/// Returns how many were removed.
///
/// # Errors
/// [`RecordError::Read`] names what could not be read or removed.
pub(crate) fn prune(dirs: &Dirs, keep: usize) -> Result<usize, RecordError> {
    let runs = runs_dir(dirs);
    let ids = run_ids(&runs)?;
    let mut removed = 0;
    for id in &ids[..ids.len().saturating_sub(keep)] {
        let dir = runs.join(id);
        removed += usize::from(remove(&dir).map_err(|why| RecordError::Read { path: dir.clone(), why })?);
    }
    Ok(removed)
}

/// Whether the record was removed now. It is locked meanwhile, so that no process reads half a record.
fn remove(dir: &Path) -> io::Result<bool> {
    let gone = match regular::open_any(&dir.join(EVENTS)) {
        Ok(events) => match events.try_lock() {
            Ok(()) => fs::remove_dir_all(dir),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(why)) => return Err(why),
        },
        // A run that was killed before its first event, or that is starting this moment and then tries another name.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::remove_dir(dir) {
            // It has started meanwhile: a run with events is going on.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && dir.join(EVENTS).exists() => {
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(dir),
            removed => removed,
        },
        Err(error) => Err(error),
    };
    match gone {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        gone => gone.map(|()| true),
    }
}
