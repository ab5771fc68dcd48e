//! Locks between processes (flock(2) on a file).

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::{CacheError, atomic, regular};

/// The interval of attempts to take a lock that another process has.
const POLL: Duration = Duration::from_millis(100);
/// The interval for [`Lock::wait`], whose locks are taken for one or two renames.
const SHORT_POLL: Duration = Duration::from_millis(2);
/// The time limit of [`Lock::wait`], far longer than such renames take on a slow disk.
const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// A lock. Dropping it releases it; the kernel releases it when the process ends in any way (flock(2)).
#[derive(Debug)]
pub struct Lock {
    _file: Locked,
    path: PathBuf,
}

/// A locked file; dropping this unlocks it.
///
/// Closing the file would not be enough: a child process has a copy of the descriptor between fork(2) and execve(2),
/// and the lock lasts until the last copy is closed or the lock is released explicitly (flock(2)).
#[derive(Debug)]
pub(crate) struct Locked(pub(crate) File);

impl Drop for Locked {
    fn drop(&mut self) {
        // If this fails, closing the file releases the lock.
        let _ = self.0.unlock();
    }
}

/// The mode of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Other processes may have it in this mode, too.
    Shared,
    /// No other process may have it.
    Exclusive,
}

impl Lock {
    /// Takes the lock and creates its file if it is missing. Calls `waiting` once if another process has the lock.
    /// Dropping the future stops waiting.
    ///
    /// # Errors
    /// [`CacheError`] if the file cannot be created or locked.
    pub async fn take(path: &Path, waiting: impl FnOnce()) -> Result<Self, CacheError> {
        let mut waiting = Some(waiting);
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// As [`Self::take`], but returns `None` if another process has the lock.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn try_take(path: &Path) -> Result<Option<Self>, CacheError> {
        Self::attempt(path, Mode::Exclusive)
    }

    /// Takes a lock that processes have only for a few renames. Blocks meanwhile.
    ///
    /// # Errors
    /// As [`Self::take`], and if another process has the lock for ten seconds: that process is stopped, or its disk
    /// hangs.
    pub fn wait(path: &Path, mode: Mode) -> Result<Self, CacheError> {
        let began = Instant::now();
        loop {
            if let Some(lock) = Self::attempt(path, mode)? {
                return Ok(lock);
            }
            if began.elapsed() > WAIT_LIMIT {
                let why = format!("another vmlab has had it for {} s", WAIT_LIMIT.as_secs());
                return Err(CacheError::on("lock", path)(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            thread::sleep(SHORT_POLL);
        }
    }

    /// Whether no process has the lock at this moment. Creates no file.
    ///
    /// # Errors
    /// [`CacheError`] if the file exists and cannot be opened or locked.
    pub fn is_free(path: &Path) -> Result<bool, CacheError> {
        let file = match regular::open_any(path) {
            Ok(file) => file,
            // Taking the lock removes a file that is not regular.
            Err(error) if regular::is_absence(&error) || regular::is_not_regular(&error) => return Ok(true),
            Err(error) => return Err(CacheError::on("open the lock", path)(error)),
        };
        // Shared, so that two processes that only check do not block each other.
        match file.try_lock_shared() {
            Ok(()) => {
                drop(Locked(file));
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(CacheError::on("lock", path)(error)),
        }
    }

    /// Releases the lock and removes its file. A waiting process creates the file again.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn remove(self) -> Result<(), CacheError> {
        match fs::remove_file(&self.path) {
            Err(error) if !regular::is_absence(&error) => Err(CacheError::on("remove", &self.path)(error)),
            _ => Ok(()),
        }
    }

    fn attempt(path: &Path, mode: Mode) -> Result<Option<Self>, CacheError> {
        if let Some(dir) = path.parent() {
            atomic::create_dir(dir)?;
        }
        loop {
            let file = match regular::create(path) {
                Ok(file) => file,
                // vmlab never creates such files, so none can be locked.
                Err(error) if regular::is_not_regular(&error) => {
                    atomic::remove_tree(path).map_err(CacheError::on("remove", path))?;
                    continue;
                }
                Err(error) => return Err(CacheError::on("create the lock", path)(error)),
            };
            let locked = match mode {
                Mode::Shared => file.try_lock_shared(),
                Mode::Exclusive => file.try_lock(),
            };
            match locked {
                Ok(()) if is_at(&file, path) => return Ok(Some(Self { _file: Locked(file), path: path.to_owned() })),
                // The file was removed after it was opened, so a lock on it excludes no other process.
                Ok(()) => drop(Locked(file)),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(CacheError::on("lock", path)(error)),
            }
        }
    }
}

/// Whether a path still leads to the opened file.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(opened), Ok(there)) => (opened.dev(), opened.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_second_taker_waits_for_the_first_and_reports_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/x.lock");
        let first = Lock::take(&path, || panic!("no process has it")).await.unwrap();
        assert!(!Lock::is_free(&path).unwrap());
        let (waited, mut first) = (Cell::new(false), Some(first));
        let second = Lock::take(&path, || {
            waited.set(true);
            first.take();
        });
        second.await.unwrap();
        assert!(waited.get());
        assert!(Lock::is_free(&path).unwrap());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_lock_on_a_removed_file_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let mut first = Lock::try_take(&path).unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        let second = Lock::take(&path, || first.take().unwrap().remove().unwrap()).await.unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none(), "the second is where all look for it");
        second.remove().unwrap();
        assert!(!path.exists() && Lock::is_free(&path).unwrap());
    }

    #[test]
    fn a_released_lock_is_free_even_while_a_child_has_a_copy_of_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let lock = Lock::try_take(&path).unwrap().unwrap();
        // As in a child process between fork(2) and execve(2).
        let _copy = lock._file.0.try_clone().unwrap();
        drop(lock);
        assert!(Lock::is_free(&path).unwrap());
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_of_another_type_at_a_locks_path_is_removed() {
        use crate::fixture::{NOT_REGULAR, put};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        for (name, make) in NOT_REGULAR {
            put(&path, make);
            assert!(Lock::is_free(&path).unwrap(), "{name}");
            let lock = Lock::try_take(&path).unwrap().unwrap();
            assert!(Lock::try_take(&path).unwrap().is_none(), "{name}");
            drop(lock);
        }
    }

    #[test]
    fn a_shared_lock_excludes_only_exclusive_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let both = [Mode::Shared; 2].map(|mode| Lock::wait(&path, mode).unwrap());
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(both);
        let alone = Lock::wait(&path, Mode::Exclusive).unwrap();
        assert!(Lock::attempt(&path, Mode::Shared).unwrap().is_none());
        drop(alone);
    }
}
