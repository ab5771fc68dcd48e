//! Templates: booted guests, saved at the moment at which their agent waits for its first order. Any number of guests can
//! be started from a template, each at the price of a process.
//!
//! A template is a directory of three files: the guest's memory, as QEMU wrote it (`ram`, mapped privately by every
//! fork), its device state (`state`), and a description with the digests of both (`template.json`). It appears whole, by
//! a rename, under the name of its key.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use vmlab_protocol::message::Hello;

use key::Key;
use vmlab_store::atomic;
use vmlab_store::cache::{self, Removal};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::integrity::{Integrity, Lasts, Trust};
use vmlab_store::lease::{Lease, touch};
use vmlab_store::{CacheError, regular};

pub mod key;
mod list;
pub mod refusal;

pub use list::{TEMPLATES, lock_path};

/// Name of the memory's file.
pub const RAM: &str = "ram";
/// Name of the device state's file.
pub const STATE: &str = "state";
/// Name of the description's file.
const ABOUT: &str = "template.json";
/// What follows the key in the name of a template that is being made or removed.
const DRAFT: &str = ".draft";
/// The same for the lock of the process that does that.
const LOCK: &str = ".lock";

/// A template that can be used.
#[derive(Debug, Clone)]
pub struct Template {
    dir: PathBuf,
    /// The template's hello; its forks do not say it again.
    pub hello: Hello,
    /// Notes about its boot, such as its kernel's warnings, which its forks do not show.
    pub boot_notes: Vec<String>,
    /// This process has just made it.
    pub new: bool,
    /// Keeps it in the cache while forks are made from it.
    _lease: Option<Lease>,
}

/// The content of `template.json`.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// The key, so that a directory under another name is found out.
    key: String,
    /// What the key was made from, for people.
    made_from: serde_json::Value,
    hello: Hello,
    boot_notes: Vec<String>,
    files: Integrity,
}

/// What was found under a key.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A template that is not what it was, and how that was found out.
    Damaged(String),
    /// A template.
    Whole(Box<Template>),
}

fn root(cache: &Path) -> PathBuf {
    cache.join("templates")
}

/// Looks for the template of a key.
///
/// # Errors
/// The cache cannot be read, or this user's QEMU may not open the memory.
pub fn find(cache: &Path, key: &Key) -> Result<Found, CacheError> {
    let dir = root(cache).join(key.name());
    // First, so that it is not removed while it is looked at.
    let Some(lease) = Lease::shared(&dir) else { return Ok(Found::Nothing) };
    if let Some(why) = regular::no_directory(&dir) {
        return Ok(Found::Damaged(why));
    }
    let about: About = match checksummed::read(&dir.join(ABOUT))? {
        Stored::Missing if !dir.exists() => return Ok(Found::Nothing),
        Stored::Missing => return Ok(Found::Damaged(format!("{} has no {ABOUT}", dir.display()))),
        Stored::Damaged(why) => return Ok(Found::Damaged(why)),
        Stored::Sound(about) => about,
    };
    // The name is a hash of the ingredients. A copy under another name is found out by the ingredients themselves.
    if about.key != key.name() || about.made_from != *key.made_from() {
        return Ok(Found::Damaged(format!("{} holds the template of another key", dir.display())));
    }
    if let Some(why) = about.files.damage(&dir, cache, Trust::Stat, Lasts::UntilReboot)? {
        return Ok(Found::Damaged(why));
    }
    let ram = dir.join(RAM);
    // QEMU opens a fork's memory for writing, although it writes to pages of its own (7.2, file_ram_open in
    // softmmu/physmem.c). Where it may not, that is known without starting one.
    File::options().read(true).write(true).open(&ram).map_err(CacheError::on("open for writing", &ram))?;
    // The entry's last use.
    touch(&dir.join(ABOUT));
    let About { hello, boot_notes, .. } = about;
    Ok(Found::Whole(Box::new(Template { dir, hello, boot_notes, new: false, _lease: Some(lease) })))
}

/// A template that is being made: the files that QEMU writes.
#[derive(Debug)]
pub struct Draft {
    staging: atomic::Staging,
}

impl Draft {
    /// An empty one, for a guest with so much memory. The caller has the key's lock.
    ///
    /// # Errors
    /// The cache cannot be written, or has no room for the memory: QEMU would find that out page by page, and die of
    /// SIGBUS.
    pub fn new(cache: &Path, key: &Key, memory_bytes: u64) -> Result<Self, CacheError> {
        let staging = atomic::Staging::new(root(cache).join(format!("{}{DRAFT}", key.name())))?;
        let failed = |error: io::Error| CacheError::on("save a guest's memory in", staging.path())(error);
        let disk = statvfs(staging.path()).map_err(|error| failed(error.into()))?;
        if disk.blocks_available().saturating_mul(disk.fragment_size()) < memory_bytes {
            return Err(failed(io::ErrorKind::StorageFull.into()));
        }
        // QEMU would die of SIGXFSZ.
        let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE).map_err(|error| failed(error.into()))?;
        if limit < memory_bytes {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Self { staging })
    }

    /// Where QEMU is to put the guest's memory.
    #[must_use]
    pub fn ram(&self) -> PathBuf {
        self.staging.path().join(RAM)
    }

    /// Where QEMU is to put the device state.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create_state(&self) -> Result<File, CacheError> {
        let path = self.staging.path().join(STATE);
        File::create_new(&path).map_err(CacheError::on("create", &path))
    }

    /// Makes it the template of the key; QEMU must have ended. A template that was there before is removed.
    ///
    /// The memory is not forced to the disk: that would take longer than all the rest. If a crash of the host loses a
    /// part of it, [`find`] finds that out.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn publish(
        self,
        cache: &Path,
        key: &Key,
        hello: Hello,
        boot_notes: Vec<String>,
    ) -> Result<Template, CacheError> {
        let from = self.staging.path();
        let about = About {
            key: key.name().to_owned(),
            made_from: key.made_from().clone(),
            hello,
            boot_notes,
            files: Integrity::of_guest(from, &[RAM, STATE])?,
        };
        checksummed::write(&from.join(ABOUT), &about)?;
        let dir = root(cache).join(key.name());
        discard(cache, key)?;
        // The lease stays with it through the rename.
        let lease = Lease::shared(from);
        fs::rename(from, &dir).map_err(CacheError::on("rename into place", &dir))?;
        about.files.remember(&dir, cache, Lasts::UntilReboot);
        let About { hello, boot_notes, .. } = about;
        Ok(Template { dir, hello, boot_notes, new: true, _lease: lease })
    }
}

/// Removes the template of a key, unless another process makes one or uses it: a process that uses a template opens its
/// files for each fork.
///
/// # Errors
/// The cache cannot be read or written.
pub fn remove(cache: &Path, key: &Key) -> Result<Removal, CacheError> {
    match list::entry(cache, key.name()) {
        Some(entry) => cache::remove(cache, &entry),
        None => Ok(Removal::Gone),
    }
}

/// Removes what is there under a key. The caller has the key's lock. Running forks keep what they have mapped.
fn discard(cache: &Path, key: &Key) -> Result<(), CacheError> {
    let dir = root(cache).join(key.name());
    atomic::remove_tree(&dir).map_err(CacheError::on("remove", &dir))
}

impl Template {
    /// The file of the guest's memory.
    #[must_use]
    pub fn ram(&self) -> PathBuf {
        self.dir.join(RAM)
    }

    /// The device state, opened for one fork.
    ///
    /// # Errors
    /// It is gone.
    pub fn open_state(&self) -> io::Result<File> {
        regular::open(&self.dir.join(STATE))
    }
}

#[cfg(test)]
mod tests;
