//! Blobs: large files of the cache. A blob is created atomically and never changed. The modification time of the empty
//! file `NAME.used` beside it is the time of the blob's last use; the blob's own times tell whether it has changed.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::cache::{Disposal, Entry, EntryKind, Listing, disk, leftovers};
use crate::lease::{Lease, touch};
use crate::lock::{Lock, Mode};
use crate::{CacheError, atomic, changes_lock, hex, regular, sha256_of, stat_cache};

/// The number of a hash's digits that vmlab shows.
const SHORT: usize = 12;

/// The beginning of a hash, as vmlab shows it.
#[must_use]
pub fn short(hash: &str) -> &str {
    hash.get(..SHORT).unwrap_or(hash)
}

/// A directory of blobs.
#[derive(Debug, Clone, Copy)]
pub struct BlobDir {
    /// The directory's name within the cache.
    pub directory: &'static str,
    /// The suffix of the blobs' names, for example `.cpio`.
    pub suffix: &'static str,
    /// The kind of its blobs.
    pub kind: &'static EntryKind,
}

/// A blob whose content matches its digest.
#[derive(Debug)]
pub struct Blob {
    /// The file.
    pub path: PathBuf,
    /// The SHA-256 of the content, in hexadecimal.
    pub sha256: String,
    /// Prevents the blob's removal while it is used.
    pub lease: Option<Lease>,
    /// Whether [`BlobDir::put`] has just written it.
    pub new: bool,
}

impl BlobDir {
    /// The blob with this name (without the suffix), if it exists and has this SHA-256. Records its use.
    #[must_use]
    pub fn find(&self, cache: &Path, name: &str, sha256: &str) -> Option<Blob> {
        let path = self.path(cache, name);
        let lease = self.lease(cache, name)?;
        let sound = stat_cache::sha256(cache, &path).is_ok_and(|actual| actual == sha256);
        sound.then(|| Blob { path, sha256: sha256.to_owned(), lease: Some(lease), new: false })
    }

    /// The blob with this name and content. Writes it unless it exists.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn put(&self, cache: &Path, name: &str, bytes: &[u8]) -> Result<Blob, CacheError> {
        let (path, sha256) = (self.path(cache, name), hex(&Sha256::digest(bytes)));
        let lease = self.lease(cache, name);
        // Read the whole file: stat(2) does not show what the disk itself has damaged. An unreadable file is written
        // again; if the cache is broken, that fails with the reason.
        let same = || regular::open(&path).and_then(|mut file| sha256_of(&mut file)).is_ok_and(|it| it == sha256);
        if lease.is_some() && same() {
            return Ok(Blob { path, sha256, lease, new: false });
        }
        atomic::create_dir(&cache.join(self.directory))?;
        // The lock prevents the blob's removal before the lease is taken.
        let _changes = Lock::wait(&changes_lock(cache), Mode::Shared)?;
        atomic::write(&path, bytes)?;
        Ok(Blob { path, sha256, lease: self.lease(cache, name), new: true })
    }

    /// Lists the blobs; `what` describes a blob by its name, in one line.
    pub fn list(&self, cache: &Path, what: impl Fn(&str) -> String) -> Listing {
        let dir = cache.join(self.directory);
        let mut listing = leftovers::half_written(&dir);
        match disk::list(&dir) {
            Ok(files) => {
                let names = files.iter().filter_map(|(name, _)| name.strip_suffix(self.suffix));
                listing.entries.extend(names.map(|name| self.look(cache, name, what(name))));
            }
            Err(error) => listing.errors.push(error),
        }
        listing
    }

    fn look(&self, cache: &Path, name: &str, what: String) -> Entry {
        let (path, used) = (self.path(cache, name), self.used(cache, name));
        let useless = regular::no_file(&path);
        let entry = Entry::at(self.kind, what, path).used_as(&used);
        Entry { useless, disposal: Disposal { after: vec![used], ..Disposal::default() }, ..entry }
    }

    fn lease(&self, cache: &Path, name: &str) -> Option<Lease> {
        let lease = Lease::shared(&self.path(cache, name))?;
        let used = self.used(cache, name);
        // If the cache is read-only, the recorded time of the last use is too old, which is harmless.
        let _ = regular::create(&used);
        touch(&used);
        Some(lease)
    }

    fn path(&self, cache: &Path, name: &str) -> PathBuf {
        cache.join(self.directory).join(format!("{name}{}", self.suffix))
    }

    fn used(&self, cache: &Path, name: &str) -> PathBuf {
        cache.join(self.directory).join(format!("{name}.used"))
    }
}
