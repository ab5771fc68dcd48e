//! The stat cache: facts about files, remembered while stat(2) reports the files as unchanged. Hashing a kernel, asking
//! QEMU for its version and building an image each take longer than starting a guest.
//!
//! A fact is a small file of checksummed JSON. A missing, damaged or stale fact counts as a cache miss. The
//! modification time of its file is the time of its last use.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cache::{Entry, EntryKind, Listing, disk, leftovers};
use crate::checksummed::{self, Stored};
use crate::fingerprint::Fingerprint;
use crate::lease::touch;
use crate::{CacheError, atomic, hex, host_boot_id, regular, sha256_of};

/// The name of facts in the warning that they could not be stored.
pub const FACTS: &str = "facts about files";

/// Facts are never removed to make room: together they have a few KiB, and each saves much time.
pub static FACT: EntryKind =
    EntryKind { name: "fact", plural: "facts", help: "Facts about files, QEMU and KVM", rank: None, list };

/// The identity of a fact: its kind, and the files and the boot that it depends on.
#[derive(Debug)]
pub struct Fact<'a> {
    cache: &'a Path,
    /// The kind of the fact, for example `sha256`.
    kind: &'a str,
    /// The files that the value is derived from.
    files: &'a [&'a Path],
    /// The boot of the host that the value is valid for; None if it stays valid after a reboot.
    boot_id: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Remembered<T> {
    kind: String,
    files: Vec<(PathBuf, Fingerprint)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_id: Option<String>,
    value: T,
}

impl<'a> Fact<'a> {
    /// The fact of this kind about these files.
    #[must_use]
    pub const fn new(cache: &'a Path, kind: &'a str, files: &'a [&'a Path]) -> Self {
        Self { cache, kind, files, boot_id: None }
    }

    /// Makes the fact valid only until the host's next boot.
    #[must_use]
    pub fn on_boot(self, boot_id: String) -> Self {
        Self { boot_id: Some(boot_id), ..self }
    }

    /// The remembered value, if there is one and its files and boot are unchanged.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self) -> Option<T> {
        let Ok(Stored::Sound(known)) = checksummed::read::<Remembered<T>>(&self.path()) else { return None };
        let holds =
            known.kind == self.kind && known.boot_id == self.boot_id && known.files == self.fingerprints().ok()?;
        holds.then(|| {
            touch(&self.path());
            known.value
        })
    }

    /// Remembers a value, unless a file was changed so recently that a further change might not show.
    ///
    /// # Errors
    /// [`CacheError`] if the cache cannot be written to. The next run then computes the value again.
    pub fn put<T: Serialize>(&self, value: &T) -> Result<(), CacheError> {
        match self.fingerprints() {
            Ok(files) if files.iter().all(|(_, file)| file.is_stable()) => self.write(files, value),
            // The value may be stale already, or a file is gone.
            _ => Ok(()),
        }
    }

    /// As [`Self::put`], for files that this process has just written and that no other process changes.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub(crate) fn put_of_own_files<T: Serialize>(&self, value: &T) -> Result<(), CacheError> {
        self.fingerprints().map_or(Ok(()), |files| self.write(files, value))
    }

    /// As [`Self::put`], but ignores errors: a run with a broken cache also fails to store other entries, and warns of
    /// those.
    pub fn put_if_possible<T: Serialize>(&self, value: &T) {
        let _ = self.put(value);
    }

    fn write<T: Serialize>(&self, files: Vec<(PathBuf, Fingerprint)>, value: &T) -> Result<(), CacheError> {
        atomic::create_dir(&root(self.cache))?;
        let known = Remembered { kind: self.kind.to_owned(), files, boot_id: self.boot_id.clone(), value };
        checksummed::write(&self.path(), &known)
    }

    fn fingerprints(&self) -> io::Result<Vec<(PathBuf, Fingerprint)>> {
        self.files.iter().map(|path| Ok((path.to_path_buf(), Fingerprint::of(path)?))).collect()
    }

    fn path(&self) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(self.kind);
        for path in self.files {
            hash.update([0]);
            hash.update(path.as_os_str().as_encoded_bytes());
        }
        root(self.cache).join(format!("{}.json", &hex(&hash.finalize())[..32]))
    }
}

fn root(cache: &Path) -> PathBuf {
    cache.join("stat-cache")
}

/// SHA-256 of a file, in hexadecimal. The file is read only if it is unknown or stat(2) reports a change.
///
/// # Errors
/// As [`regular::open`] and read(2).
pub fn sha256(cache: &Path, file: &Path) -> io::Result<String> {
    let files = [file];
    let fact = Fact::new(cache, "sha256", &files);
    if let Some(known) = fact.get() {
        return Ok(known);
    }
    let before = Fingerprint::of(file)?;
    let hash = sha256_of(&mut regular::open(file)?)?;
    // If the file changed meanwhile, the hash belongs to no version of it.
    if Fingerprint::of(file)? == before {
        fact.put_if_possible(&hash);
    }
    Ok(hash)
}

fn list(cache: &Path) -> Listing {
    let mut listing = leftovers::half_written(&root(cache));
    match disk::list(&root(cache)) {
        Ok(files) => {
            let facts = files.into_iter().filter(|(name, _)| name.ends_with(".json") && !name.starts_with('.'));
            listing.entries.extend(facts.filter_map(|(_, path)| look(path)));
        }
        Err(error) => listing.errors.push(error),
    }
    listing
}

fn look(path: PathBuf) -> Option<Entry> {
    let unknown = || "a fact that cannot be read".to_owned();
    let (what, useless, unreadable) = match checksummed::read::<Remembered<IgnoredAny>>(&path) {
        Ok(Stored::Missing) => return None,
        Ok(Stored::Damaged(why)) => (unknown(), Some(why), None),
        Ok(Stored::Sound(known)) => {
            let about = known.files.first().map(|(file, _)| format!(" of {}", file.display()));
            let useless = stale(&known);
            (known.kind + &about.unwrap_or_default(), useless, None)
        }
        Err(error) => (unknown(), None, Some(error.cause())),
    };
    Some(Entry { useless, unreadable, ..Entry::at(&FACT, what, path) })
}

/// The reason why a fact is no longer valid; None if it is.
fn stale(known: &Remembered<IgnoredAny>) -> Option<String> {
    let changed = known.files.iter().find(|(file, then)| Fingerprint::of(file).ok().as_ref() != Some(then));
    let booted = known.boot_id.as_ref().is_some_and(|then| host_boot_id().is_ok_and(|now| now != *then));
    changed
        .map(|(file, _)| format!("{} has changed", file.display()))
        .or_else(|| booted.then(|| "this machine was booted again".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::old_file;

    #[test]
    fn a_value_is_remembered_until_a_file_changes() {
        let cache = tempfile::tempdir().unwrap();
        let (old, young) = (old_file(), cache.path().join("young"));
        fs::write(&young, "1").unwrap();
        let (old, young) = ([old.as_path()], [young.as_path()]);
        let fact = Fact::new(cache.path(), "test", &old);
        assert_eq!(fact.get::<u32>(), None);
        fact.put(&7_u32).unwrap();
        assert_eq!(fact.get::<u32>(), Some(7));
        let fact = Fact::new(cache.path(), "test", &young);
        fact.put(&8_u32).unwrap();
        assert_eq!(fact.get::<u32>(), None, "a file that was just written is not trusted");
        fact.put_of_own_files(&8_u32).unwrap();
        assert_eq!(fact.get::<u32>(), Some(8));
        fs::write(young[0], "2").unwrap();
        assert_eq!(fact.get::<u32>(), None);
    }

    #[test]
    fn a_fact_of_another_boot_is_a_cache_miss_and_listed_as_useless() {
        let cache = tempfile::tempdir().unwrap();
        let fact = |boot: &str| Fact::new(cache.path(), "test", &[]).on_boot(boot.to_owned());
        fact("first boot").put(&7_u32).unwrap();
        assert_eq!(fact("first boot").get::<u32>(), Some(7));
        assert_eq!(fact("second boot").get::<u32>(), None);
        assert_eq!(Fact::new(cache.path(), "test", &[]).get::<u32>(), None);
        assert_eq!(list(cache.path()).entries[0].useless.as_deref(), Some("this machine was booted again"));
        fact(&host_boot_id().unwrap()).put(&7_u32).unwrap();
        assert_eq!(list(cache.path()).entries[0].useless, None);
    }

    #[test]
    fn other_kinds_types_and_stale_files_are_cache_misses() {
        let cache = tempfile::tempdir().unwrap();
        let old = old_file();
        let files = [old.as_path()];
        let fact = Fact::new(cache.path(), "test", &files);
        fact.put(&7_u32).unwrap();
        assert_eq!(fact.get(), Some(7_u32));
        assert_eq!(fact.get::<String>(), None);
        fs::copy(fact.path(), Fact::new(cache.path(), "other", &files).path()).unwrap();
        assert_eq!(Fact::new(cache.path(), "other", &files).get::<u32>(), None);
    }

    #[test]
    fn a_flipped_byte_is_a_cache_miss_and_the_next_put_repairs_it() {
        let cache = tempfile::tempdir().unwrap();
        let old = old_file();
        let files = [old.as_path()];
        let fact = Fact::new(cache.path(), "test", &files);
        fact.put(&"7.2.22").unwrap();
        let bytes = fs::read(fact.path()).unwrap();
        for at in 0..bytes.len() {
            let mut harmed = bytes.clone();
            harmed[at] ^= 1;
            fs::write(fact.path(), &harmed).unwrap();
            assert!(fact.get::<String>().is_none_or(|same| same == "7.2.22"), "byte {at}");
        }
        fact.put(&"7.2.22").unwrap();
        assert_eq!(fact.get::<String>().unwrap(), "7.2.22");
    }

    #[test]
    fn a_fact_that_cannot_be_stored_is_an_error() {
        let cache = tempfile::tempdir().unwrap();
        fs::write(cache.path().join("stat-cache"), "").unwrap();
        let error = Fact::new(cache.path(), "test", &[]).put(&7).unwrap_err();
        assert!(error.to_string().contains("stat-cache"), "{error}");
    }

    #[test]
    fn a_written_file_has_its_new_hash() {
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("file");
        for text in ["one", "two"] {
            fs::write(&file, text).unwrap();
            assert_eq!(sha256(cache.path(), &file).unwrap(), hex(&Sha256::digest(text)));
        }
    }
}
