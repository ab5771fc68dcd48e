//! Fetched kernels. Below `$CACHE/kernels`:
//!
//! - `entries/RELEASE-HASH/`: `vmlinuz`, `config`, `lib/modules/RELEASE/`, and `kernel.json`, which lists all files
//!   with their digests. The hash identifies the kernel's packages, so an entry never changes, and two sources of the
//!   same kernel share it.
//! - `refs/SOURCE.json`: the pin, which maps a source such as `debian:bookworm` to an entry, so that the source means
//!   the same kernel tomorrow, without a network.
//! - `locks/SOURCE.lock`: the lock for fetching a source.
//! - `staging/SOURCE/`: the directory in which a fetch prepares its entry.
//!
//! The modification time of `kernel.json` is the time of the last lookup.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use vmlab_store::atomic::{self, Staging};
use vmlab_store::cache::disk;
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::integrity::{Integrity, Lasts, Trust};
use vmlab_store::lease::{Lease, touch};
use vmlab_store::lock::{Lock, Mode};
use vmlab_store::{CacheError, hex};

#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod format2;
mod list;

pub use list::KERNELS;

/// The version of the two JSON files. Version 2 is read, too ([`format2`]). Other versions count as damage, and the
/// kernel is fetched again.
const FORMAT: u32 = 3;

/// The name of the kernel's file in an entry.
pub(crate) const KERNEL: &str = "vmlinuz";
/// The name of the configuration's file in an entry.
pub(crate) const CONFIG: &str = "config";
const RECORD: &str = "kernel.json";

/// The description of an entry: `kernel.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// The source that was fetched first, for example `debian:bookworm`.
    pub label: String,
    /// The suite, for example `bookworm`.
    pub suite: String,
    /// `uname -r`
    pub release: String,
    /// The version of the image package, for example `6.1.192-2`.
    pub version: String,
    /// The packages of the files, the image package first.
    pub packages: Vec<Package>,
    /// The time of the fetch, in ms since 1970 UTC.
    pub fetched_at_unix_ms: u64,
    /// All files except `kernel.json`.
    files: Integrity,
}

/// A distribution package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The name, for example `linux-image-6.1.0-56-cloud-amd64`.
    pub name: String,
    /// The version, for example `6.1.192-2`.
    pub version: String,
}

/// The entry of a source: `refs/SOURCE.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pin {
    format: u32,
    entry: String,
    /// The entry's packages, which are fetched again if the entry is damaged.
    packages: Vec<Package>,
    resolved_at_unix_ms: u64,
}

/// A kernel in the cache. The caller of [`KernelStore::lookup`] decides how thoroughly it was verified.
#[derive(Debug, Clone)]
pub struct Entry {
    dir: PathBuf,
    /// The description of the entry.
    pub record: Record,
    /// Prevents the entry's removal; `None` if it was only listed.
    pub lease: Option<Lease>,
}

impl Entry {
    /// The path of the bzImage.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(KERNEL)
    }

    /// The SHA-256 of the bzImage, in hexadecimal.
    #[must_use]
    pub fn kernel_sha256(&self) -> &str {
        // A record without this digest counts as damaged.
        self.record.files.sha256(KERNEL).unwrap_or_default()
    }

    /// The path of the kernel's configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join(CONFIG)
    }

    /// The directory with `modules.dep`.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.dir.join(modules_below(&self.record.release))
    }

    /// Compares the files with their digests; `Some` describes the damage.
    fn damage(&self, cache: &Path, trust: Trust) -> Result<Option<String>, CacheError> {
        self.record.files.damage(&self.dir, cache, trust, Lasts::WhileUnchanged)
    }
}

/// The path of a release's modules, relative to the entry.
pub(crate) fn modules_below(release: &str) -> PathBuf {
    Path::new("lib/modules").join(release)
}

/// The result of looking up a source.
#[derive(Debug)]
pub enum Lookup {
    /// The source was never fetched.
    Missing,
    /// The fetched kernel or its pin is damaged; the text describes the damage.
    Damaged(String),
    /// The kernel is in the cache.
    Found(Box<Entry>),
}

/// The description of a kernel before it becomes an entry.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    /// As [`Record::label`].
    pub label: &'a str,
    /// As [`Record::suite`].
    pub suite: &'a str,
    /// As [`Record::release`]; must be [`crate::is_release`].
    pub release: &'a str,
    /// As [`Record::packages`], not empty.
    pub packages: &'a [Package],
    /// As [`Record::fetched_at_unix_ms`].
    pub now_unix_ms: u64,
}

/// The fetched kernels of a cache.
#[derive(Debug, Clone)]
pub struct KernelStore {
    cache: PathBuf,
    root: PathBuf,
}

impl KernelStore {
    /// The store in vmlab's cache directory.
    #[must_use]
    pub fn new(cache: &Path) -> Self {
        Self { cache: cache.to_owned(), root: cache.join("kernels") }
    }

    /// The lock for fetching a source. `stem` is the base name of the source's files.
    #[must_use]
    pub fn lock_path(&self, stem: &str) -> PathBuf {
        self.root.join("locks").join(format!("{stem}.lock"))
    }

    /// Creates the directory in which a fetch prepares its entry, in the same file system as the entries.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn staging(&self, stem: &str) -> Result<Staging, CacheError> {
        Staging::new(self.root.join("staging").join(stem))
    }

    /// Finds the kernel that a source is pinned to, and compares its files with their digests.
    ///
    /// # Errors
    /// [`CacheError`] if a file exists and cannot be read.
    pub fn lookup(&self, stem: &str, trust: Trust) -> Result<Lookup, CacheError> {
        Ok(match self.peek(stem)? {
            Lookup::Found(mut entry) => {
                entry.lease = Lease::shared(&entry.dir);
                match entry.damage(&self.cache, trust)? {
                    // Another process has removed the kernel, and its pin before that.
                    _ if entry.lease.is_none() => Lookup::Missing,
                    Some(damage) => Lookup::Damaged(damage),
                    None => {
                        touch(&entry.dir.join(RECORD));
                        Lookup::Found(entry)
                    }
                }
            }
            other => other,
        })
    }

    /// As [`Self::lookup`], without comparing digests: for lists.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn peek(&self, stem: &str) -> Result<Lookup, CacheError> {
        let pin = match self.read_pin(stem)? {
            Stored::Missing => return Ok(Lookup::Missing),
            Stored::Damaged(why) => return Ok(Lookup::Damaged(why)),
            Stored::Sound(pin) => pin,
        };
        let dir = self.entries().join(&pin.entry);
        Ok(match read_record(&dir)? {
            Stored::Missing => Lookup::Damaged(format!("{} is missing", dir.join(RECORD).display())),
            Stored::Damaged(why) => Lookup::Damaged(why),
            Stored::Sound(record) if record.packages == pin.packages && record.files.sha256(KERNEL).is_some() => {
                Lookup::Found(Box::new(Entry { dir, record, lease: None }))
            }
            Stored::Sound(_) => {
                Lookup::Damaged(format!("{} describes another kernel than the pinned one", dir.join(RECORD).display()))
            }
        })
    }

    /// The packages that a source is pinned to, the image package first, even if the entry is damaged or gone. Empty if
    /// the pin is damaged.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn pinned_packages(&self, stem: &str) -> Result<Vec<Package>, CacheError> {
        Ok(match self.read_pin(stem)? {
            Stored::Sound(pin) => pin.packages,
            Stored::Missing | Stored::Damaged(_) => Vec::new(),
        })
    }

    /// Turns a prepared directory (`vmlinuz`, `config`, `lib/modules/RELEASE`) into an entry, atomically; `files` lists
    /// its files. If the entry exists already, it is used instead, or replaced if it is damaged.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn publish(
        &self,
        staging: &Staging,
        prepared: &Path,
        identity: &Identity<'_>,
        files: Integrity,
    ) -> Result<Entry, CacheError> {
        let record = Record {
            format: FORMAT,
            label: identity.label.to_owned(),
            suite: identity.suite.to_owned(),
            release: identity.release.to_owned(),
            version: identity.packages.first().map(|package| package.version.clone()).unwrap_or_default(),
            packages: identity.packages.to_vec(),
            fetched_at_unix_ms: identity.now_unix_ms,
            files,
        };
        atomic::create_dir(&self.entries())?;
        let mut entry = Entry { dir: self.entries().join(entry_name(&record)), record, lease: None };
        checksummed::write(&prepared.join(RECORD), &entry.record)?;
        atomic::sync_tree(prepared)?;
        // The lock prevents the entry's removal before the lease is taken.
        let _changes = Lock::wait(&vmlab_store::changes_lock(&self.cache), Mode::Shared)?;
        if let Some(sound) = self.sound_entry(&entry.dir)? {
            return Ok(sound);
        }
        entry.lease = Lease::shared(prepared);
        if fs::symlink_metadata(&entry.dir).is_ok() {
            let aside = staging.path().join("damaged");
            fs::rename(&entry.dir, &aside).map_err(CacheError::on("replace", &entry.dir))?;
        }
        match fs::rename(prepared, &entry.dir) {
            Ok(()) => atomic::sync_dir(&self.entries()).map(|()| entry),
            // The fetch of another source of the same kernel was faster.
            Err(error) => match self.sound_entry(&entry.dir)? {
                Some(sound) => Ok(sound),
                None => Err(CacheError::on("create", &entry.dir)(error)),
            },
        }
    }

    /// Writes the pin of a source.
    ///
    /// # Errors
    /// [`CacheError`]; the old pin is then unchanged.
    pub fn pin(&self, stem: &str, entry: &Entry, now_unix_ms: u64) -> Result<(), CacheError> {
        let pin = Pin {
            format: FORMAT,
            entry: entry.dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            packages: entry.record.packages.clone(),
            resolved_at_unix_ms: now_unix_ms,
        };
        atomic::create_dir(&self.refs())?;
        // A process that removes a kernel checks its pins under this lock.
        let _changes = Lock::wait(&vmlab_store::changes_lock(&self.cache), Mode::Shared)?;
        checksummed::write(&self.pin_path(stem), &pin)
    }

    /// The stems of all pinned sources, sorted.
    ///
    /// # Errors
    /// [`CacheError`] if the directory exists and cannot be read.
    pub fn pinned(&self) -> Result<Vec<String>, CacheError> {
        let names = disk::list(&self.refs())?;
        Ok(names.iter().filter_map(|(name, _)| name.strip_suffix(".json").map(str::to_owned)).collect())
    }

    fn entries(&self) -> PathBuf {
        self.root.join("entries")
    }

    fn refs(&self) -> PathBuf {
        self.root.join("refs")
    }

    fn pin_path(&self, stem: &str) -> PathBuf {
        self.refs().join(format!("{stem}.json"))
    }

    fn read_pin(&self, stem: &str) -> Result<Stored<Pin>, CacheError> {
        let path = self.pin_path(stem);
        let stored = match checksummed::read(&path)? {
            Stored::Damaged(why) => format2::pin(&path).map_or(Stored::Damaged(why), Stored::Sound),
            other => other,
        };
        Ok(match stored {
            Stored::Sound(Pin { format, ref entry, .. })
                if format != FORMAT || entry.contains('/') || entry.starts_with('.') =>
            {
                Stored::Damaged(of_another_version(&path))
            }
            other => other,
        })
    }

    fn sound_entry(&self, dir: &Path) -> Result<Option<Entry>, CacheError> {
        let Stored::Sound(record) = read_record(dir)? else { return Ok(None) };
        let entry = Entry { dir: dir.to_owned(), record, lease: Lease::shared(dir) };
        Ok(if entry.damage(&self.cache, Trust::Nothing)?.is_none() { Some(entry) } else { None })
    }
}

fn read_record(dir: &Path) -> Result<Stored<Record>, CacheError> {
    let path = dir.join(RECORD);
    Ok(match checksummed::read::<Record>(&path)? {
        Stored::Damaged(why) => format2::record(dir).map_or(Stored::Damaged(why), Stored::Sound),
        Stored::Sound(record) if record.format != FORMAT => Stored::Damaged(of_another_version(&path)),
        other => other,
    })
}

fn of_another_version(path: &Path) -> String {
    format!("{} was written by an older or newer vmlab", path.display())
}

/// The name of an entry: the release, and a hash of the kernel's identity.
fn entry_name(record: &Record) -> String {
    let mut hash = Sha256::new();
    hash.update(record.files.digest());
    for package in &record.packages {
        hash.update(format!("\n{}={}", package.name, package.version));
    }
    format!("{}-{}", record.release, &hex(&hash.finalize())[..16])
}

#[cfg(test)]
mod tests;
