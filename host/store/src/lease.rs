//! Leases: an entry of the cache that is in use, a file or a directory, is locked itself (flock(2)): shared by all who
//! use it, exclusively by the process that removes it. The lock stays with the entry when that is renamed, and ends with
//! the process.

use std::fs::TryLockError;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::lock::{Locked, is_at};
use crate::regular::is_absence;
use crate::{CacheError, regular};

/// How often and how far apart an entry that is locked exclusively is tried. A process that removes an entry locks it for
/// one rename, and one that asks whether it is in use for less.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Keeps an entry in its place until this and all its clones are dropped.
#[derive(Debug, Clone)]
pub struct Lease {
    _file: Option<Arc<Locked>>,
}

/// Whether an entry could be locked exclusively.
#[derive(Debug)]
pub(crate) enum Exclusive {
    /// No process uses it, and none can until this is dropped.
    Taken(Lease),
    /// Another process uses it.
    InUse,
    /// It is not there.
    Gone,
}

impl Lease {
    /// A lease for using an entry; `None` where there is none or it is being removed.
    ///
    /// For an entry that cannot be opened or locked the lease is empty: reading the entry fails with the reason, and an
    /// entry that cannot be locked is not removed either.
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
                // Another one was put in its place.
                Ok(()) => drop(Locked(file)),
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
                Err(TryLockError::Error(_)) => return Some(Self { _file: None }),
            }
        }
        None
    }

    /// A lease for removing an entry. Fails where the entry cannot be opened or locked.
    pub(crate) fn exclusive(path: &Path) -> Result<Exclusive, CacheError> {
        let file = match regular::open_any(path) {
            Ok(file) => file,
            Err(error) if is_absence(&error) => return Ok(Exclusive::Gone),
            // No process can use it.
            Err(error) if regular::is_not_regular(&error) => return Ok(Exclusive::Taken(Self { _file: None })),
            Err(error) => return Err(CacheError::on("open", path)(error)),
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => Ok(Exclusive::Taken(Self { _file: Some(Arc::new(Locked(file))) })),
            // Another process put it in place this moment.
            Ok(()) => {
                drop(Locked(file));
                Ok(Exclusive::InUse)
            }
            Err(TryLockError::WouldBlock) => Ok(Exclusive::InUse),
            Err(TryLockError::Error(error)) => Err(CacheError::on("lock", path)(error)),
        }
    }
}

/// Notes that an entry was used, as the time of a file whose times nothing else depends on.
pub fn touch(path: &Path) {
    // A file's owner needs no permission to write for that (futimens(3)). Where it fails all the same, the entry only
    // counts as used longer ago than it was.
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
