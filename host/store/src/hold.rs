//! What is in use. An entry of the cache, a file or a directory, is locked itself (flock(2)): shared by all who use it,
//! alone by whoever takes it away. The lock goes with the entry when that is renamed, and with the process when that
//! ends.

use std::fs::TryLockError;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use super::lock::{Locked, is_absence, is_at};
use super::{CacheError, plain};

/// How often and how far apart an entry that another holds alone is tried. Whoever takes entries away holds each for one
/// rename, and whoever asks what is in use for less.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Keeps an entry where it is until this and all its clones are dropped.
#[derive(Debug, Clone)]
pub struct Hold {
    _file: Option<Arc<Locked>>,
}

/// Whether an entry could be had alone.
#[derive(Debug)]
pub enum Alone {
    /// Nobody uses it, and nobody can until this is dropped.
    Held(Hold),
    /// Another uses it.
    InUse,
    /// It is not there.
    Gone,
}

impl Hold {
    /// For using an entry; `None` where there is none or it is being taken away.
    ///
    /// An entry that cannot be opened or locked is not held, and not told of here: reading it tells why, and what cannot
    /// be locked is not taken away either.
    #[must_use]
    pub fn share(path: &Path) -> Option<Self> {
        for _ in 0..TRIES {
            let file = match plain::open_any(path) {
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

    /// For taking an entry away.
    ///
    /// # Errors
    /// It cannot be opened or locked.
    pub fn alone(path: &Path) -> Result<Alone, CacheError> {
        let file = match plain::open_any(path) {
            Ok(file) => file,
            Err(error) if is_absence(&error) => return Ok(Alone::Gone),
            // Nobody can use it.
            Err(error) if plain::is_odd(&error) => return Ok(Alone::Held(Self { _file: None })),
            Err(error) => return Err(CacheError::on("open", path)(error)),
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => Ok(Alone::Held(Self { _file: Some(Arc::new(Locked(file))) })),
            // Another vmlab put it in place this moment.
            Ok(()) => {
                drop(Locked(file));
                Ok(Alone::InUse)
            }
            Err(TryLockError::WouldBlock) => Ok(Alone::InUse),
            Err(TryLockError::Error(error)) => Err(CacheError::on("lock", path)(error)),
        }
    }
}

/// Notes that an entry was used, by the time of a file whose times nothing else depends on. A cache that cannot be
/// written to is none the worse.
pub fn touch(path: &Path) {
    // A file's owner needs no permission to write for that (futimens(3)). Where it fails all the same, the entry only
    // counts as used longer ago than it was.
    let _ = plain::open_any(path).and_then(|file| file.set_modified(SystemTime::now()));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_shared_cannot_be_had_alone_and_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        let (file, below) = (dir.path().join("file"), dir.path().join("dir"));
        fs::write(&file, "").unwrap();
        fs::create_dir(&below).unwrap();
        for path in [&file, &below] {
            let users = [(); 2].map(|()| Hold::share(path).unwrap());
            assert!(matches!(Hold::alone(path).unwrap(), Alone::InUse));
            let [first, second] = users;
            let clone = first.clone();
            drop((first, second));
            assert!(matches!(Hold::alone(path).unwrap(), Alone::InUse), "a clone is left");
            drop(clone);
            let Alone::Held(alone) = Hold::alone(path).unwrap() else { panic!("nobody uses it") };
            assert!(Hold::share(path).is_none());
            drop(alone);
            assert!(Hold::share(path).is_some());
        }
    }

    #[test]
    fn what_is_neither_file_nor_directory_holds_nobody_up() {
        use crate::fixture::{ODDITIES, put};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (name, oddity) in ODDITIES {
            put(&path, oddity);
            touch(&path);
            drop(Hold::share(&path).unwrap());
            assert!(matches!(Hold::alone(&path).unwrap(), Alone::Held(_)), "{name}");
        }
    }

    #[test]
    fn a_hold_goes_with_its_entry() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        let _hold = Hold::share(&from).unwrap();
        fs::rename(&from, &to).unwrap();
        assert!(Hold::share(&from).is_none());
        assert!(matches!(Hold::alone(&from).unwrap(), Alone::Gone));
        assert!(matches!(Hold::alone(&to).unwrap(), Alone::InUse));
    }
}
