//! Fetched kernels. Below `$CACHE/kernels`:
//!
//! - `entries/RELEASE-HASH/`: `vmlinuz`, `config`, `lib/modules/RELEASE/`, and `kernel.json`, which lists all files with
//!   their digests. The hash is over what the kernel is, so an entry never changes, and two sources that mean the same
//!   kernel share it.
//! - `refs/SOURCE.json`: the pin, which says what a source such as `debian:bookworm` resolved to, so that it is the same
//!   kernel tomorrow, without a network.
//! - `locks/SOURCE.lock`: the lock of fetching a source.
//! - `staging/SOURCE/`: where a fetch prepares its entry.
//!
//! The time of `kernel.json` is when the entry was last looked up.

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

/// Version of the two JSON files. [`format2`] is read, too; others are damage: the kernel is fetched again.
const FORMAT: u32 = 3;

/// The kernel within an entry.
pub(crate) const KERNEL: &str = "vmlinuz";
/// Its configuration.
pub(crate) const CONFIG: &str = "config";
const RECORD: &str = "kernel.json";

/// What an entry is: `kernel.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// The source it was first fetched as, `debian:bookworm`.
    pub label: String,
    /// As `bookworm`.
    pub suite: String,
    /// `uname -r`
    pub release: String,
    /// The distribution's version of the image package, `6.1.192-2`.
    pub version: String,
    /// All packages its files come from, the image package first.
    pub packages: Vec<Package>,
    /// Wall clock, ms since 1970 UTC.
    pub fetched_at_unix_ms: u64,
    /// All files but this one.
    files: Integrity,
}

/// A distribution package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// As `linux-image-6.1.0-56-cloud-amd64`.
    pub name: String,
    /// As `6.1.192-2`.
    pub version: String,
}

/// What a source resolved to: `refs/SOURCE.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pin {
    format: u32,
    entry: String,
    /// Those of the entry, which are fetched again should it be damaged.
    packages: Vec<Package>,
    resolved_at_unix_ms: u64,
}

/// A kernel in the cache, as verified as its caller asked for.
#[derive(Debug, Clone)]
pub struct Entry {
    dir: PathBuf,
    /// What it is.
    pub record: Record,
    /// Keeps it in the cache; `None` where it was only looked at.
    pub lease: Option<Lease>,
}

impl Entry {
    /// The bzImage.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(KERNEL)
    }

    /// SHA-256 of the bzImage, hexadecimal.
    #[must_use]
    pub fn kernel_sha256(&self) -> &str {
        // A record without it is damage.
        self.record.files.sha256(KERNEL).unwrap_or_default()
    }

    /// Its `.config`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join(CONFIG)
    }

    /// The directory with `modules.dep`.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.dir.join(modules_below(&self.record.release))
    }

    /// Compares the files with their digests; `Some` says what is wrong.
    fn damage(&self, cache: &Path, trust: Trust) -> Result<Option<String>, CacheError> {
        self.record.files.damage(&self.dir, cache, trust, Lasts::WhileUnchanged)
    }
}

/// Where a release's modules are within an entry.
pub(crate) fn modules_below(release: &str) -> PathBuf {
    Path::new("lib/modules").join(release)
}

/// What the cache has for a source.
#[derive(Debug)]
pub enum Lookup {
    /// It was never fetched.
    Missing,
    /// It was fetched, and has been damaged.
    Damaged(String),
    /// It is there.
    Found(Box<Entry>),
}

/// What is known of a kernel before it is an entry.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    /// As [`Record::label`].
    pub label: &'a str,
    /// As [`Record::suite`].
    pub suite: &'a str,
    /// As [`Record::release`]; must be [`crate::source::is_release`].
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
    /// Below vmlab's cache directory.
    #[must_use]
    pub fn new(cache: &Path) -> Self {
        Self { cache: cache.to_owned(), root: cache.join("kernels") }
    }

    /// The lock that a fetch of a source must have. `stem` is the source's name for files.
    #[must_use]
    pub fn lock_path(&self, stem: &str) -> PathBuf {
        self.root.join("locks").join(format!("{stem}.lock"))
    }

    /// The directory where a fetch prepares its entry, in the same file system as the entries.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn staging(&self, stem: &str) -> Result<Staging, CacheError> {
        Staging::new(self.root.join("staging").join(stem))
    }

    /// Finds what a source is pinned to, and compares all its files with their digests.
    ///
    /// # Errors
    /// [`CacheError`] where something is there and cannot be read.
    pub fn lookup(&self, stem: &str, trust: Trust) -> Result<Lookup, CacheError> {
        Ok(match self.peek(stem)? {
            Lookup::Found(mut entry) => {
                entry.lease = Lease::shared(&entry.dir);
                match entry.damage(&self.cache, trust)? {
                    // It was removed since it was looked at, and its pin before that.
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
            Stored::Sound(_) => Lookup::Damaged(format!("{} is not what was pinned", dir.join(RECORD).display())),
        })
    }

    /// The packages that a source is pinned to, the image package first, even if its entry is damaged or gone; none where
    /// the pin cannot be read any more.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn pinned_packages(&self, stem: &str) -> Result<Vec<Package>, CacheError> {
        Ok(match self.read_pin(stem)? {
            Stored::Sound(pin) => pin.packages,
            Stored::Missing | Stored::Damaged(_) => Vec::new(),
        })
    }

    /// Turns a prepared directory (`vmlinuz`, `config`, `lib/modules/RELEASE`) into an entry, at once and whole; `files`
    /// lists its files. A sound entry that is there already is taken instead, and a damaged one is replaced.
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
        // No process may remove it before the lease is taken.
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
            // Another source means the same kernel, and its fetch was quicker.
            Err(error) => match self.sound_entry(&entry.dir)? {
                Some(sound) => Ok(sound),
                None => Err(CacheError::on("create", &entry.dir)(error)),
            },
        }
    }

    /// Notes what a source resolved to.
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
        // A process that removes a kernel looks at the pins first, and removes none that is pinned meanwhile.
        let _changes = Lock::wait(&vmlab_store::changes_lock(&self.cache), Mode::Shared)?;
        checksummed::write(&self.pin_path(stem), &pin)
    }

    /// The stems of all sources that are pinned, sorted.
    ///
    /// # Errors
    /// [`CacheError`] where the directory is there and cannot be read.
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
    format!("{} is of an older or a newer vmlab", path.display())
}

/// The release, to be read by people, and a hash over everything that makes the kernel what it is.
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
