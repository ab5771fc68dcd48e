//! Files of the cache that are named by what is in them. Such a file is put in place whole and never written to again;
//! beside each lies an empty one, `NAME.used`, whose time is when it was last used: its own times tell whether it has
//! changed.

use std::fs;
use std::path::{Path, PathBuf};

use super::cache::disk;
use super::cache::entry::{Entry, Found, Kind, Way};
use super::hold::{self, Hold};
use super::lock::{Lock, Mode};
use super::{CacheError, atomic, changes_lock, plain};

/// Characters of a hash that people are shown.
const SHORT: usize = 12;

/// As much of a hash as people are shown.
#[must_use]
pub fn short(hash: &str) -> &str {
    hash.get(..SHORT).unwrap_or(hash)
}

/// A directory of such files.
#[derive(Debug, Clone, Copy)]
pub struct Shelf {
    /// Below the cache's directory.
    pub directory: &'static str,
    /// What the files' names end in, as `.cpio`.
    pub suffix: &'static str,
    /// What its files are.
    pub kind: Kind,
}

/// Where a file is, or would be.
#[derive(Debug)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    used: PathBuf,
}

/// A file that is there.
#[derive(Debug)]
pub struct Kept {
    /// Keeps it there while it is used.
    pub hold: Option<Hold>,
    /// It was put there just now.
    pub new: bool,
}

impl Shelf {
    /// The place of a file, by its name without the suffix.
    #[must_use]
    pub fn place(&self, cache: &Path, name: &str) -> Place {
        let file = |suffix: &str| cache.join(self.directory).join(format!("{name}{suffix}"));
        Place { path: file(self.suffix), used: file(".used") }
    }

    /// Takes hold of a file that has this content, put there now where it is not there or something else is.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn keep(&self, cache: &Path, place: &Place, bytes: &[u8]) -> Result<Kept, CacheError> {
        let hold = place.hold();
        // What is there may have been damaged since; its name alone is no proof.
        if hold.is_some() && holds(&place.path, bytes) {
            return Ok(Kept { hold, new: false });
        }
        atomic::create_dir(&cache.join(self.directory))?;
        // Until it is held nobody may take it away.
        let _changes = Lock::wait(&changes_lock(cache), Mode::Shared)?;
        atomic::write(&place.path, bytes)?;
        Ok(Kept { hold: place.hold(), new: true })
    }

    /// All its files, for whoever lists the cache or makes room; `what` says in one line what a name stands for.
    pub fn inventory(&self, cache: &Path, what: impl Fn(&str) -> String) -> Found {
        let mut found = Found::default();
        match disk::list(&cache.join(self.directory)) {
            Ok(files) => {
                for name in files.iter().filter_map(|(name, _)| name.strip_suffix(self.suffix)) {
                    found.entries.push(self.look(cache, name, what(name)));
                }
            }
            Err(error) => found.errors.push(error),
        }
        found
    }

    fn look(&self, cache: &Path, name: &str, what: String) -> Entry {
        let Place { path, used } = self.place(cache, name);
        let useless = plain::no_file(&path);
        let entry = Entry::at(self.kind, what, path).used_as(&used);
        Entry { useless, way: Way { after: vec![used], ..Way::default() }, ..entry }
    }
}

impl Place {
    /// Keeps the file in the cache, if it is there, and notes that it is used.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        let hold = Hold::share(&self.path)?;
        // A cache that cannot be written to is none the worse.
        let _ = plain::create(&self.used);
        hold::touch(&self.used);
        Some(hold)
    }
}

/// Whether the file has this content. One that cannot be read has not: it is written anew, and that fails with a reason
/// where it must.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let same_size = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == bytes.len() as u64);
    same_size && fs::read(path).is_ok_and(|there| there == bytes)
}
