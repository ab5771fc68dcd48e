//! Fetched kernels. Below `$CACHE/kernels`:
//!
//! - `entries/RELEASE-HASH/`: `vmlinuz`, `config`, `lib/modules/RELEASE/`, `modules.manifest`, which lists the files in
//!   there, and `kernel.json`; the hash is over what the kernel is, so an entry never changes and two sources that mean
//!   the same kernel share it;
//! - `refs/SOURCE.json`: the pin, which says what a source such as `debian:bookworm` resolved to, so that it is the same
//!   kernel tomorrow, with no network;
//! - `locks/SOURCE.lock`: held while a source is fetched;
//! - `staging/SOURCE/`: where a fetch prepares its entry.
//!
//! The time of `kernel.json` is when the entry was last looked up.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::manifest::{self, Manifest, Trust};
use vmlab_store::atomic::{self, Staging};
use vmlab_store::hold::{Hold, touch};
use vmlab_store::json::{self, Json};
use vmlab_store::lock::{Lock, Mode};
use vmlab_store::{CacheError, hex, memo, plain, sha256_of};

#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod inventory;

/// Version of the two JSON files. Others are treated as damage: the kernel is fetched again.
const FORMAT: u32 = 2;

/// The kernel within an entry.
pub const KERNEL: &str = "vmlinuz";
/// Its configuration.
pub const CONFIG: &str = "config";
/// The list of its modules' files, a [`Manifest`].
pub const MANIFEST: &str = "modules.manifest";
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
    /// Of `vmlinuz`, hexadecimal.
    pub kernel_sha256: String,
    /// Of `config`, hexadecimal.
    pub config_sha256: String,
    /// Of `modules.manifest`, hexadecimal.
    pub manifest_sha256: String,
    /// Wall clock, ms since 1970 UTC.
    pub fetched_at_unix_ms: u64,
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
    release: String,
    version: String,
    /// An older vmlab's pin has none.
    #[serde(default)]
    packages: Vec<Package>,
    kernel_sha256: String,
    config_sha256: String,
    resolved_at_unix_ms: u64,
}

/// A kernel in the cache, as verified as its caller asked for.
#[derive(Debug, Clone)]
pub struct Entry {
    dir: PathBuf,
    /// What it is.
    pub record: Record,
    /// Keeps it in the cache; `None` where it was only looked at.
    pub hold: Option<Hold>,
}

impl Entry {
    /// The bzImage.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(KERNEL)
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

    fn manifest(&self) -> PathBuf {
        self.dir.join(MANIFEST)
    }

    /// Compares the files with their hashes; `Some` says what is wrong. `cache` is where is remembered which files were
    /// hashed already.
    fn damage(&self, cache: &Path, trust: Trust) -> Result<Option<String>, CacheError> {
        let Record { kernel_sha256, config_sha256, manifest_sha256, .. } = &self.record;
        let manifest = self.manifest();
        let files =
            [(self.kernel(), kernel_sha256), (self.config(), config_sha256), (manifest.clone(), manifest_sha256)];
        for (path, expected) in files {
            let actual = match trust {
                Trust::Fingerprints => memo::sha256(cache, &path),
                Trust::Nothing => plain::open(&path).and_then(|mut file| sha256_of(&mut file)),
            };
            match actual {
                Ok(actual) if actual == *expected => {}
                Ok(_) => return Ok(Some(manifest::changed(&path))),
                Err(error) => return manifest::damage_or(&path, error).map(Some),
            }
        }
        let text = fs::read_to_string(&manifest).map_err(CacheError::on("read", &manifest))?;
        match Manifest::parse(&text) {
            Some(list) => list.damage(&manifest, &self.modules(), cache, trust),
            None => Ok(Some(format!("{} is malformed", manifest.display()))),
        }
    }
}

/// Where a release's modules are within an entry.
#[must_use]
pub fn modules_below(release: &str) -> PathBuf {
    Path::new("lib/modules").join(release)
}

/// What the cache has for a source.
#[derive(Debug)]
pub enum Lookup {
    /// Never fetched.
    Missing,
    /// Fetched, and something happened to it.
    Damaged(String),
    /// There.
    Found(Box<Entry>),
}

/// What is known of a kernel before it has a place in the store.
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

/// The store of fetched kernels. Nothing of it need exist.
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

    /// The lock that a fetch of a source must hold. `stem` is the source's name for files.
    #[must_use]
    pub fn lock_path(&self, stem: &str) -> PathBuf {
        self.root.join("locks").join(format!("{stem}.lock"))
    }

    /// The place where a fetch prepares its entry, in the same file system as the entries.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn staging(&self, stem: &str) -> Result<Staging, CacheError> {
        Staging::new(self.root.join("staging").join(stem))
    }

    /// Finds what a source is pinned to, and compares its files, the modules' among them, with their hashes.
    ///
    /// # Errors
    /// [`CacheError`] where something is there and cannot be read.
    pub fn lookup(&self, stem: &str, trust: Trust) -> Result<Lookup, CacheError> {
        Ok(match self.peek(stem)? {
            Lookup::Found(mut entry) => {
                entry.hold = Hold::share(&entry.dir);
                match entry.damage(&self.cache, trust)? {
                    // It was taken away since it was looked at, and its pin before that.
                    _ if entry.hold.is_none() => Lookup::Missing,
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

    /// As [`Self::lookup`], without comparing hashes: for lists.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn peek(&self, stem: &str) -> Result<Lookup, CacheError> {
        let pin: Pin = match json::read(&self.pin_path(stem))? {
            Json::Missing => return Ok(Lookup::Missing),
            Json::Malformed(what) => return Ok(Lookup::Damaged(what)),
            Json::Read(pin) => pin,
        };
        if pin.format != FORMAT || pin.entry.contains('/') || pin.entry.starts_with('.') {
            return Ok(Lookup::Damaged(format!("{} is of an older or a newer vmlab", self.pin_path(stem).display())));
        }
        let dir = self.entries().join(&pin.entry);
        let path = dir.join(RECORD);
        let record: Record = match json::read(&path)? {
            Json::Missing => return Ok(Lookup::Damaged(format!("{} is missing", path.display()))),
            Json::Malformed(what) => return Ok(Lookup::Damaged(what)),
            Json::Read(record) => record,
        };
        if record.format != FORMAT || record.kernel_sha256 != pin.kernel_sha256 || record.release != pin.release {
            return Ok(Lookup::Damaged(format!("{} is not what was pinned", path.display())));
        }
        Ok(Lookup::Found(Box::new(Entry { dir, record, hold: None })))
    }

    /// The packages that a source is pinned to, the image package first, whatever became of its entry; none where that
    /// cannot be told any more.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn pinned_packages(&self, stem: &str) -> Result<Vec<Package>, CacheError> {
        Ok(match json::read::<Pin>(&self.pin_path(stem))? {
            Json::Read(pin) => pin.packages,
            Json::Missing | Json::Malformed(_) => Vec::new(),
        })
    }

    /// Turns a prepared directory (`vmlinuz`, `config`, `lib/modules/RELEASE`, `modules.manifest`) into an entry, at once and whole. An
    /// entry that is there already and sound is taken instead, one that is damaged is replaced.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn publish(&self, staging: &Staging, prepared: &Path, identity: &Identity<'_>) -> Result<Entry, CacheError> {
        let hash = |path: PathBuf| {
            File::open(&path).and_then(|mut file| sha256_of(&mut file)).map_err(CacheError::on("read", &path))
        };
        let record = Record {
            format: FORMAT,
            label: identity.label.to_owned(),
            suite: identity.suite.to_owned(),
            release: identity.release.to_owned(),
            version: identity.packages.first().map(|package| package.version.clone()).unwrap_or_default(),
            packages: identity.packages.to_vec(),
            kernel_sha256: hash(prepared.join(KERNEL))?,
            config_sha256: hash(prepared.join(CONFIG))?,
            manifest_sha256: hash(prepared.join(MANIFEST))?,
            fetched_at_unix_ms: identity.now_unix_ms,
        };
        atomic::create_dir(&self.entries())?;
        let mut entry = Entry { dir: self.entries().join(entry_name(&record)), record, hold: None };
        json::write(&prepared.join(RECORD), &entry.record)?;
        atomic::sync_tree(prepared)?;
        // Until it is held nobody may take it away.
        let _changes = Lock::wait(&vmlab_store::changes_lock(&self.cache), Mode::Shared)?;
        if let Some(sound) = self.sound_entry(&entry.dir)? {
            return Ok(sound);
        }
        entry.hold = Hold::share(prepared);
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
    /// [`CacheError`]; the old pin then still holds.
    pub fn pin(&self, stem: &str, entry: &Entry, now_unix_ms: u64) -> Result<(), CacheError> {
        let record = &entry.record;
        let pin = Pin {
            format: FORMAT,
            entry: entry.dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            release: record.release.clone(),
            version: record.version.clone(),
            packages: record.packages.clone(),
            kernel_sha256: record.kernel_sha256.clone(),
            config_sha256: record.config_sha256.clone(),
            resolved_at_unix_ms: now_unix_ms,
        };
        let path = self.pin_path(stem);
        atomic::create_dir(&self.root.join("refs"))?;
        // Whoever takes kernels away looks at the pins first, and takes none that is pinned meanwhile.
        let _changes = Lock::wait(&vmlab_store::changes_lock(&self.cache), Mode::Shared)?;
        json::write(&path, &pin)
    }

    /// The stems of all sources that are pinned, sorted.
    ///
    /// # Errors
    /// [`CacheError`] where the directory is there and cannot be read.
    pub fn pinned(&self) -> Result<Vec<String>, CacheError> {
        let refs = self.root.join("refs");
        let listing = match fs::read_dir(&refs) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(CacheError::on("list", &refs)(error)),
        };
        let mut stems = Vec::new();
        for file in listing {
            let name = file.map_err(CacheError::on("list", &refs))?.file_name();
            stems.extend(name.to_string_lossy().strip_suffix(".json").map(str::to_owned));
        }
        stems.sort();
        Ok(stems)
    }

    fn entries(&self) -> PathBuf {
        self.root.join("entries")
    }

    fn pin_path(&self, stem: &str) -> PathBuf {
        self.root.join("refs").join(format!("{stem}.json"))
    }

    fn sound_entry(&self, dir: &Path) -> Result<Option<Entry>, CacheError> {
        let Json::Read(record) = json::read::<Record>(&dir.join(RECORD))? else { return Ok(None) };
        let entry = Entry { dir: dir.to_owned(), record, hold: Hold::share(dir) };
        Ok(if entry.damage(&self.cache, Trust::Nothing)?.is_none() { Some(entry) } else { None })
    }
}

/// The release, to be read by people, and a hash over everything that makes the kernel what it is.
fn entry_name(record: &Record) -> String {
    let mut hash = Sha256::new();
    for part in [&record.kernel_sha256, &record.config_sha256, &record.manifest_sha256] {
        hash.update(part);
    }
    for package in &record.packages {
        hash.update(format!("\n{}={}", package.name, package.version));
    }
    format!("{}-{}", record.release, &hex(&hash.finalize())[..16])
}

#[cfg(test)]
pub(super) mod tests;
