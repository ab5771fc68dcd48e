//! Leases: locks on entries of the cache (flock(2) on the file or directory itself). The users of an entry have a
//! shared lock, the process that removes it an exclusive one. The lock follows the entry when it is renamed, and the
//! kernel releases it when the process ends.

use std::fs::TryLockError;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::lock::{Locked, is_at};
use crate::regular::is_absence;
use crate::{CacheError, regular};

/// The number of attempts to lock an entry that is locked exclusively. A process that removes an entry locks it for one
/// rename; a process that checks whether it is in use, for less.
const TRIES: u32 = 100;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(2);

/// Prevents an entry's removal until this and all its clones are dropped.
#[derive(Debug, Clone)]
pub struct Lease {
    _file: Option<Arc<Locked>>,
}

/// The result of locking an entry exclusively.
#[derive(Debug)]
pub(crate) enum Exclusive {
    /// No other process uses the entry, or can use it until this is dropped.
    Taken(Lease),
    /// Another process uses the entry.
    InUse,
    /// The entry does not exist.
    Gone,
}

impl Lease {
    /// A lease for using an entry; `None` if the entry does not exist or is being removed.
    ///
    /// If the entry cannot be opened or locked, the lease is empty: reading the entry then fails with the reason, and
    /// no process can remove an entry that it cannot lock.
    #[must_use]
    pub fn shared(path: &Path) -> Option<Self> {
        for _ in 0..TRIES {
            let file = match regular::open_any(path) {
                Ok(file) => file,
                Err(error) if is_absence(&error) => return None,
                Err(_) => return Some(Self { _file: None }),
            };
            match file.try_lock_shared() {
                Ok(()) if is_at(&file, path) => return Some(Self { _file: Some(Arc::new(Locked(file))) }),
                // The entry was replaced meanwhile.
                Ok(()) => drop(Locked(file)),
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
                Err(TryLockError::Error(_)) => return Some(Self { _file: None }),
            }
        }
        None
    }

    /// A lease for removing an entry. Fails if the entry cannot be opened or locked.
    pub(crate) fn exclusive(path: &Path) -> Result<Exclusive, CacheError> {
        let file = match regular::open_any(path) {
            Ok(file) => file,
            Err(error) if is_absence(&error) => return Ok(Exclusive::Gone),
            // No process can use such a file.
            Err(error) if regular::is_not_regular(&error) => return Ok(Exclusive::Taken(Self { _file: None })),
            Err(error) => return Err(CacheError::on("open", path)(error)),
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => Ok(Exclusive::Taken(Self { _file: Some(Arc::new(Locked(file))) })),
            // Another process has just put a new entry in its place.
            Ok(()) => {
                drop(Locked(file));
                Ok(Exclusive::InUse)
            }
            Err(TryLockError::WouldBlock) => Ok(Exclusive::InUse),
            Err(TryLockError::Error(error)) => Err(CacheError::on("lock", path)(error)),
        }
    }
}

/// Records the use of an entry as the modification time of a file.
pub fn touch(path: &Path) {
    // The file's owner needs no write permission for this (futimens(3)). If it fails, the recorded time is too old,
    // which is harmless.
    let _ = regular::open_any(path).and_then(|file| file.set_modified(SystemTime::now()));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_entry_is_shared_or_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let (file, below) = (dir.path().join("file"), dir.path().join("dir"));
        fs::write(&file, "").unwrap();
        fs::create_dir(&below).unwrap();
        for path in [&file, &below] {
            let users = [(); 2].map(|()| Lease::shared(path).unwrap());
            assert!(matches!(Lease::exclusive(path).unwrap(), Exclusive::InUse));
            let [first, second] = users;
            let clone = first.clone();
            drop((first, second));
            assert!(matches!(Lease::exclusive(path).unwrap(), Exclusive::InUse), "a clone is left");
            drop(clone);
            let Exclusive::Taken(alone) = Lease::exclusive(path).unwrap() else { panic!("it is in use") };
            assert!(Lease::shared(path).is_none());
            drop(alone);
            assert!(Lease::shared(path).is_some());
        }
    }

    #[test]
    fn what_is_neither_file_nor_directory_leases_nobody_up() {
        use crate::fixture::{NOT_REGULAR, put};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (name, make) in NOT_REGULAR {
            put(&path, make);
            touch(&path);
            drop(Lease::shared(&path).unwrap());
            assert!(matches!(Lease::exclusive(&path).unwrap(), Exclusive::Taken(_)), "{name}");
        }
    }

    #[test]
    fn a_lease_moves_with_its_entry() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        let _lease = Lease::shared(&from).unwrap();
        fs::rename(&from, &to).unwrap();
        assert!(Lease::shared(&from).is_none());
        assert!(matches!(Lease::exclusive(&from).unwrap(), Exclusive::Gone));
        assert!(matches!(Lease::exclusive(&to).unwrap(), Exclusive::InUse));
    }
}
