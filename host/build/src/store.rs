//! Built kernels. Below `$CACHE/builds`:
//!
//! - `kernels/KEY/`: `bzImage`, `config-RELEASE`, `lib/modules/RELEASE/` if the kernel has modules, and `build.json`. The key is a
//!   digest of source code, config and compiler, so an entry never changes.
//! - `objects/PLACE/`: the build directory (`O=`) and its log. The place stands for a tree and a list of fragments, so that the
//!   next build of a changed tree or fragment compiles only what has changed.
//! - `locks/PLACE.lock`: the lock of a build directory.
//! - `trees/`: what is known of the files of source trees.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vmlab_protocol::job::SuiteId;
use vmlab_store::atomic::{self, Staging};
use vmlab_store::cache::leftovers::LEFTOVER;
use vmlab_store::cache::{Disposal, Entry, EntryKind, Listing};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::integrity::{Integrity, Lasts, Trust};
use vmlab_store::lease::{Lease, touch};
use vmlab_store::lock::{Lock, Mode};
use vmlab_store::{CacheError, hex};

/// The version of `build.json`. Entries of other versions are built again.
const FORMAT: u32 = 2;
const RECORD: &str = "build.json";
/// The file of a build directory that has the kernel's name.
pub(crate) const LABEL: &str = "label";
/// The name of the kernel's file in an entry.
pub(crate) const IMAGE: &str = "bzImage";

/// Building a kernel again takes minutes.
pub static BUILDS: EntryKind =
    EntryKind { name: "build", plural: "builds", help: "Kernels built from source", rank: Some(3), list: list_kernels };

/// Without them only the next build of a changed tree takes longer.
pub static OBJECTS: EntryKind = EntryKind {
    name: "build-dir",
    plural: "build-dirs",
    help: "Build directories with object files",
    rank: Some(2),
    list: list_objects,
};

/// The description of a built kernel: `build.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub(crate) format: u32,
    /// The kernel's name when it was built first.
    pub label: String,
    /// `uname -r`
    pub release: String,
    /// The value of each requested symbol, and the fragment and line that asked for it.
    pub asked: BTreeMap<String, (String, String)>,
    /// The KUnit suites that are built in.
    pub suites: Vec<SuiteId>,
    /// The time that the build took, in s.
    pub seconds: u64,
    pub(crate) files: Integrity,
}

/// A built kernel in the cache.
#[derive(Debug, Clone)]
pub struct Built {
    dir: PathBuf,
    /// The description of the kernel.
    pub record: Record,
    /// Prevents the entry's removal.
    pub lease: Option<Lease>,
}

impl Built {
    /// The path of the bzImage. Its config and modules are beside it.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.dir.join(IMAGE)
    }

    /// The path of the config.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join(config_name(&self.record.release))
    }
}

pub(crate) fn config_name(release: &str) -> String {
    format!("config-{release}")
}

/// What a kernel is built from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    /// The identity of the source code.
    pub(crate) code: &'a str,
    /// The requested config.
    pub(crate) config: &'a str,
    /// The identity of the compiler.
    pub(crate) compiler: &'a str,
}

impl Key<'_> {
    fn name(&self) -> String {
        digest(&[&FORMAT.to_string(), self.code, self.config, self.compiler])
    }
}

/// A short digest of texts.
pub(crate) fn digest(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    hex(&hash.finalize())[..32].to_owned()
}

/// The built kernels of a cache.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    cache: PathBuf,
}

impl Store {
    pub(crate) fn new(cache: &Path) -> Self {
        Self { cache: cache.to_owned() }
    }

    /// The lock of a build directory.
    pub(crate) fn lock_path(&self, place: &str) -> PathBuf {
        root(&self.cache).join("locks").join(format!("{place}.lock"))
    }

    /// The build directory for a place.
    pub(crate) fn objects(&self, place: &str) -> PathBuf {
        root(&self.cache).join("objects").join(place)
    }

    /// The directory in which an entry is prepared. The caller has the lock of the place.
    pub(crate) fn staging(&self, place: &str) -> Result<Staging, CacheError> {
        Staging::new(root(&self.cache).join("staging").join(place))
    }

    /// The kernel with this key. A damaged one counts as missing: it is built again.
    pub(crate) fn find(&self, key: Key<'_>) -> Result<Option<Built>, CacheError> {
        let dir = root(&self.cache).join("kernels").join(key.name());
        let Some(lease) = Lease::shared(&dir) else { return Ok(None) };
        let record = match checksummed::read::<Record>(&dir.join(RECORD))? {
            Stored::Sound(record) if record.format == FORMAT => record,
            Stored::Sound(_) | Stored::Damaged(_) | Stored::Missing => return Ok(None),
        };
        if record.files.damage(&dir, &self.cache, Trust::Stat, Lasts::WhileUnchanged)?.is_some() {
            return Ok(None);
        }
        touch(&dir.join(RECORD));
        Ok(Some(Built { dir, record, lease: Some(lease) }))
    }

    /// Turns a prepared directory into an entry, atomically.
    pub(crate) fn publish(
        &self,
        key: Key<'_>,
        staging: &Staging,
        prepared: &Path,
        stopped: &AtomicBool,
        record: impl FnOnce(u32, Integrity) -> Record,
    ) -> Result<Built, CacheError> {
        let dir = root(&self.cache).join("kernels").join(key.name());
        let files = Integrity::of_tree(prepared, stopped)?;
        let stopped = || CacheError::on("list", prepared)(io::Error::other("vmlab was stopped"));
        let record = record(FORMAT, files.ok_or_else(stopped)?);
        checksummed::write(&prepared.join(RECORD), &record)?;
        atomic::sync_tree(prepared)?;
        atomic::create_dir(&root(&self.cache).join("kernels"))?;
        let _changes = Lock::wait(&vmlab_store::changes_lock(&self.cache), Mode::Shared)?;
        let lease = Lease::shared(prepared);
        if fs::symlink_metadata(&dir).is_ok() {
            // A damaged kernel, or one that a build in another place has just put there, which is the same.
            fs::rename(&dir, staging.path().join("replaced")).map_err(CacheError::on("replace", &dir))?;
        }
        fs::rename(prepared, &dir).map_err(CacheError::on("create", &dir))?;
        record.files.remember(&dir, &self.cache, Lasts::WhileUnchanged);
        Ok(Built { dir, record, lease })
    }
}

/// The name of the kernel that an entry of [`BUILDS`] or [`OBJECTS`] is of, and its release if it is built. None if that cannot
/// be read: the entry is then damaged or has just been removed.
#[must_use]
pub fn label(entry: &Path) -> Option<(String, Option<String>)> {
    if let Ok(Stored::Sound(record)) = checksummed::read::<Record>(&entry.join(RECORD)) {
        return Some((record.label, Some(record.release)));
    }
    fs::read_to_string(entry.join(LABEL)).ok().map(|label| (label, None))
}

fn root(cache: &Path) -> PathBuf {
    cache.join("builds")
}

fn list_kernels(cache: &Path) -> Listing {
    Listing::of_directory(&root(cache).join("kernels"), |name, dir| {
        let about = dir.join(RECORD);
        let (what, useless) = match checksummed::read::<Record>(&about) {
            Ok(Stored::Sound(record)) if record.format == FORMAT => {
                (format!("{} ({})", record.release, record.label), None)
            }
            Ok(Stored::Sound(_)) => (name.to_owned(), Some("it was built by another version of vmlab".to_owned())),
            Ok(Stored::Damaged(why)) => (name.to_owned(), Some(why)),
            Ok(Stored::Missing) => (name.to_owned(), Some(format!("{} is missing", about.display()))),
            Err(error) => (name.to_owned(), Some(error.to_string())),
        };
        let aside = root(cache).join("staging").join(format!("removed-{name}"));
        let disposal = Disposal { aside: Some(aside), ..Disposal::default() };
        Entry { useless, disposal, ..Entry::at(&BUILDS, what, dir).used_as(&about) }
    })
}

fn list_objects(cache: &Path) -> Listing {
    let store = Store::new(cache);
    let of = |kind: &'static EntryKind, name: &str, dir: PathBuf, what: String| {
        let place = name.strip_prefix("removed-").unwrap_or(name);
        let disposal = Disposal { lock: Some(store.lock_path(place)), ..Disposal::default() };
        Entry { disposal, ..Entry::at(kind, what, dir) }
    };
    let mut listing = Listing::of_directory(&root(cache).join("objects"), |name, dir| {
        let label = fs::read_to_string(dir.join(LABEL)).unwrap_or_else(|_| name.to_owned());
        of(&OBJECTS, name, dir, label)
    });
    listing.extend([Listing::of_directory(&root(cache).join("staging"), |name, dir| Entry {
        useless: Some("the process that wrote it has ended".to_owned()),
        ..of(&LEFTOVER, name, dir, "an unfinished build".to_owned())
    })]);
    listing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_key_counts() {
        let key = |code, config, compiler| Key { code, config, compiler }.name();
        let names =
            [key("a", "b", "c"), key("x", "b", "c"), key("a", "x", "c"), key("a", "b", "x"), key("ab", "", "c")];
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        assert_eq!(key("a", "b", "c"), names[0]);
    }
}
