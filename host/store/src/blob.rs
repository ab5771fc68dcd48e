//! Blobs: large files of the cache, each put in place whole and never written to again. Beside each lies an empty file,
//! `NAME.used`, whose time says when the blob was last used: the blob's own times say whether it has changed.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::cache::{Disposal, Entry, EntryKind, Listing, disk, leftovers};
use crate::lease::{Lease, touch};
use crate::lock::{Lock, Mode};
use crate::{CacheError, atomic, changes_lock, hex, regular, sha256_of, stat_cache};

/// Characters of a hash that people are shown.
const SHORT: usize = 12;

/// As much of a hash as people are shown.
#[must_use]
pub fn short(hash: &str) -> &str {
    hash.get(..SHORT).unwrap_or(hash)
}

/// A directory of blobs.
#[derive(Debug, Clone, Copy)]
pub struct BlobDir {
    /// Its name within the cache.
    pub directory: &'static str,
    /// What the blobs' names end in, as `.cpio`.
    pub suffix: &'static str,
    /// The kind of its blobs.
    pub kind: &'static EntryKind,
}

/// A file of the cache whose content was compared with its digest.
#[derive(Debug)]
pub struct Blob {
    /// The file.
    pub path: PathBuf,
    /// Of its content, hexadecimal.
    pub sha256: String,
    /// Keeps it in the cache while it is used.
    pub lease: Option<Lease>,
    /// It was put there just now.
    pub new: bool,
}

impl BlobDir {
    /// The blob of that name, without the suffix, if it is there and has this SHA-256. Notes that it is used.
    #[must_use]
    pub fn find(&self, cache: &Path, name: &str, sha256: &str) -> Option<Blob> {
        let path = self.path(cache, name);
        let lease = self.lease(cache, name)?;
        let sound = stat_cache::sha256(cache, &path).is_ok_and(|actual| actual == sha256);
        sound.then(|| Blob { path, sha256: sha256.to_owned(), lease: Some(lease), new: false })
    }

    /// The blob of that name with this content, which is written now unless it is there.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn put(&self, cache: &Path, name: &str, bytes: &[u8]) -> Result<Blob, CacheError> {
        let (path, sha256) = (self.path(cache, name), hex(&Sha256::digest(bytes)));
        let lease = self.lease(cache, name);
        // It is read, as a stat does not show what a disk lost by itself. One that cannot be read is written anew, and
        // that fails with a reason where it must.
        let same = || regular::open(&path).and_then(|mut file| sha256_of(&mut file)).is_ok_and(|it| it == sha256);
        if lease.is_some() && same() {
            return Ok(Blob { path, sha256, lease, new: false });
        }
        atomic::create_dir(&cache.join(self.directory))?;
        // No process may remove it before the lease is taken.
        let _changes = Lock::wait(&changes_lock(cache), Mode::Shared)?;
        atomic::write(&path, bytes)?;
        Ok(Blob { path, sha256, lease: self.lease(cache, name), new: true })
    }

    /// Lists the blobs; `what` says in one line what a name stands for.
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
        // Where the cache cannot be written to, the blob only counts as used longer ago than it was.
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
