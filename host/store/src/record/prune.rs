//! Taking old records away.

use std::fs::{self, TryLockError};
use std::io;
use std::path::Path;

use super::{EVENTS, RecordError, run_ids, runs_dir};
use crate::dirs::Dirs;
use crate::plain;

/// How many records are kept.
pub const KEPT_RUNS: usize = 200;

/// Takes away all records but the `keep` newest, and never one whose run is going on. Nothing but records is touched.
/// Gives how many went.
///
/// # Errors
/// [`RecordError::Read`] names what could not be read or taken away.
pub fn prune(dirs: &Dirs, keep: usize) -> Result<usize, RecordError> {
    let runs = runs_dir(dirs);
    let ids = run_ids(&runs)?;
    let mut removed = 0;
    for id in &ids[..ids.len().saturating_sub(keep)] {
        let dir = runs.join(id);
        removed += usize::from(remove(&dir).map_err(|why| RecordError::Read { path: dir.clone(), why })?);
    }
    Ok(removed)
}

/// Whether the record is gone now. Its lock is held meanwhile, so that nobody reads half a record.
fn remove(dir: &Path) -> io::Result<bool> {
    let gone = match plain::open_any(&dir.join(EVENTS)) {
        Ok(events) => match events.try_lock() {
            Ok(()) => fs::remove_dir_all(dir),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(why)) => return Err(why),
        },
        // A run that was killed before its first event, or that is starting this moment; it tries another name then.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::remove_dir(dir) {
            // It has started meanwhile: from its events on it is a run that goes on.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && dir.join(EVENTS).exists() => {
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(dir),
            removed => removed,
        },
        Err(error) => Err(error),
    };
    match gone {
        // Another vmlab was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        gone => gone.map(|()| true),
    }
}
