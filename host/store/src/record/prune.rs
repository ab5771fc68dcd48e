//! Removes old records.

use std::fs::{self, TryLockError};
use std::io;
use std::path::Path;

use super::{EVENTS, RecordError, run_ids, runs_dir};
use crate::dirs::Dirs;
use crate::regular;

/// The number of records that stay, without the record of the starting run.
pub(super) const MAX_RECORDS: usize = 200;

/// Removes all records but the `keep` newest and those of active runs. Touches no other files. Returns the number of
/// removed records.
///
/// # Errors
/// [`RecordError::Read`] if a record cannot be read or removed.
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

/// Removes a record under its lock, so that no process reads half of it. Returns false if it stays or was gone already.
fn remove(dir: &Path) -> io::Result<bool> {
    let gone = match regular::open_any(&dir.join(EVENTS)) {
        Ok(events) => match events.try_lock() {
            Ok(()) => fs::remove_dir_all(dir),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(why)) => return Err(why),
        },
        // The run was killed before its first event, or is just starting and will then try another id.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::remove_dir(dir) {
            // The run has written its first event meanwhile, so it is active.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && dir.join(EVENTS).exists() => {
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(dir),
            removed => removed,
        },
        Err(error) => Err(error),
    };
    match gone {
        // Another process has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        gone => gone.map(|()| true),
    }
}
