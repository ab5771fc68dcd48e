//! A lock between vmlabs that work on the same thing.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::{CacheError, atomic};

/// How often a lock that another holds is tried.
const POLL: Duration = Duration::from_millis(100);

/// Held until dropped; the kernel lets go of it when the process ends, however that happens (flock(2)).
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock on a file, which is made if need be and never removed. `waiting` is called once if another holds
    /// it. Dropping the future stops waiting.
    ///
    /// # Errors
    /// [`CacheError`] where the file cannot be made or locked.
    pub async fn take(path: &Path, waiting: impl FnOnce()) -> Result<Self, CacheError> {
        if let Some(dir) = path.parent() {
            atomic::create_dir(dir)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(CacheError::on("create the lock", path))?;
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    tokio::time::sleep(POLL).await;
                }
                Err(TryLockError::Error(error)) => return Err(CacheError::on("lock", path)(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_second_waits_for_the_first_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/x.lock");
        let first = Lock::take(&path, || panic!("nobody holds it")).await.unwrap();
        let (waited, mut first) = (Cell::new(false), Some(first));
        let second = Lock::take(&path, || {
            waited.set(true);
            first.take();
        });
        second.await.unwrap();
        assert!(waited.get());
    }
}
