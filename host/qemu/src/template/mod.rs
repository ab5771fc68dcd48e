//! Templates: booted guests, saved while their agent waits for its first order. A fork of a template starts as quickly
//! as a process.
//!
//! A template is a directory of three files: the guest's memory as QEMU wrote it (`ram`, which every fork maps
//! privately; further NUMA nodes have files of their own, `ram-1` and so on), the device state (`state`), and a description with the digests of both (`template.json`). It is created
//! by a rename, so that it is complete, and named by its key.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use vmlab_console::Finding;
use vmlab_protocol::message::Hello;

use frozen::{FrozenImage, Image};
use key::Key;
use memory::InMemory;
use vmlab_store::atomic;
use vmlab_store::cache::{self, Removal};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::integrity::{Integrity, Lasts, Trust};
use vmlab_store::lease::{Lease, touch};
use vmlab_store::{CacheError, regular};

pub mod frozen;
pub mod key;
mod list;
mod memory;
pub mod refusal;

pub use list::{TEMPLATES, lock_path, remove_drafts};

/// The name of the memory's file.
pub const RAM: &str = "ram";
/// The name of the file with the memory of a node.
fn ram_name(node: usize) -> String {
    if node == 0 { RAM.to_owned() } else { format!("{RAM}-{node}") }
}

/// The name of the device state's file.
pub const STATE: &str = "state";
/// The name of the description's file.
const ABOUT: &str = "template.json";
/// The suffix of a template that is being made or removed.
const DRAFT: &str = ".draft";
/// The suffix of the lock of the process that does this.
const LOCK: &str = ".lock";

/// A template that can be used.
#[derive(Debug, Clone)]
pub struct Template {
    files: Files,
    /// What the boot said.
    pub boot: BootReport,
    /// Whether this process has just made the template.
    pub new: bool,
    /// The frozen QEMU, if there is one that can be used on this machine.
    pub frozen: Option<FrozenImage>,
    /// The damage of the frozen QEMU, if it is damaged.
    pub frozen_damage: Option<String>,
    /// Prevents the template's removal while forks are started from it.
    _lease: Option<Lease>,
}

/// What the boot of a template said, and its forks do not say again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootReport {
    /// The guest's hello.
    pub hello: Hello,
    /// Notes about the boot, such as the kernel's warnings, one sentence each.
    pub boot_notes: Vec<String>,
    /// The kernel's warnings during KUnit suites that it ran at boot.
    #[serde(default)]
    pub suite_warnings: Vec<Finding>,
}

/// Where the files of a template are.
#[derive(Debug, Clone)]
enum Files {
    /// In this directory of the cache; the number of nodes.
    Directory(PathBuf, usize),
    /// In memory, because the cache can only be read.
    Memory(Arc<InMemory>),
}

/// The content of `template.json`.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// The key, which detects a directory under another name.
    key: String,
    /// The ingredients of the key.
    made_from: serde_json::Value,
    #[serde(flatten)]
    boot: BootReport,
    files: Integrity,
}

/// The result of looking up a key.
#[derive(Debug)]
pub enum Found {
    /// There is no template.
    Nothing,
    /// The template is damaged; the text describes the damage.
    Damaged(String),
    /// The template is intact.
    Whole(Box<Template>),
}

fn root(cache: &Path) -> PathBuf {
    cache.join("templates")
}

/// The files with the memory of each node.
fn ram_files(dir: &Path, nodes: usize) -> Vec<PathBuf> {
    (0..nodes).map(|node| dir.join(ram_name(node))).collect()
}

/// Looks up the template of a key.
///
/// # Errors
/// [`CacheError`] if the cache cannot be read, or QEMU would be unable to open the memory.
pub fn find(cache: &Path, key: &Key) -> Result<Found, CacheError> {
    let dir = root(cache).join(key.name());
    // The lease comes first, so that the template is not removed while it is read.
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
    // The name is a hash of the ingredients; comparing these detects a copy under another name.
    if about.key != key.name() || about.made_from != *key.made_from() {
        return Ok(Found::Damaged(format!("{} contains the template of another key", dir.display())));
    }
    if let Some(why) = about.files.damage(&dir, cache, Trust::Stat, Lasts::UntilReboot)? {
        return Ok(Found::Damaged(why));
    }
    let nodes = key.node_memory().count();
    // QEMU opens a fork's memory for writing. Check this before starting QEMU.
    let opened = ram_files(&dir, nodes).iter().try_for_each(|ram| {
        File::options().read(true).write(true).open(ram).map(drop).map_err(CacheError::on("open for writing", ram))
    });
    let files = match opened {
        Ok(()) => Files::Directory(dir.clone(), nodes),
        Err(error) if error.is_read_only() => {
            let copy = InMemory::copy_of(&dir, nodes).map_err(CacheError::on("copy to memory", &dir))?;
            Files::Memory(Arc::new(copy))
        }
        Err(error) => return Err(error),
    };
    // Record the use of the entry.
    touch(&dir.join(ABOUT));
    let About { boot, .. } = about;
    let (frozen, frozen_damage) = match frozen::find(&dir, cache)? {
        Image::Usable(image) => (Some(image), None),
        Image::Damaged(why) => (None, Some(why)),
        Image::NotHere => (None, None),
    };
    Ok(Found::Whole(Box::new(Template { files, boot, new: false, frozen, frozen_damage, _lease: Some(lease) })))
}

/// A template that is being made: the files to which QEMU writes.
#[derive(Debug)]
pub struct Draft {
    place: Place,
    /// The frozen QEMU, or why QEMU could not be frozen. Empty until that was tried.
    frozen: OnceCell<Result<FrozenImage, String>>,
}

#[derive(Debug)]
enum Place {
    /// A directory of the cache, which becomes the template; the number of nodes.
    Staging(atomic::Staging, usize),
    /// Files in memory, which end with this process.
    Memory(InMemory),
}

impl Draft {
    /// Creates an empty draft for the key's guest. The caller has the key's lock.
    ///
    /// # Errors
    /// [`CacheError`] if the cache cannot be written to, or has too little space for the memory: QEMU would be killed
    /// by SIGBUS when a page cannot be written.
    pub fn new(cache: &Path, key: &Key) -> Result<Self, CacheError> {
        let memory_bytes: u64 = key.node_memory().sum();
        let staging = atomic::Staging::new(root(cache).join(format!("{}{DRAFT}", key.name())))?;
        let failed = |error: io::Error| CacheError::on("save a guest's memory in", staging.path())(error);
        let disk = statvfs(staging.path()).map_err(|error| failed(error.into()))?;
        if disk.blocks_available().saturating_mul(disk.fragment_size()) < memory_bytes {
            return Err(failed(io::ErrorKind::StorageFull.into()));
        }
        // QEMU would be killed by SIGXFSZ.
        let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE).map_err(|error| failed(error.into()))?;
        if limit < memory_bytes {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Self { place: Place::Staging(staging, key.node_memory().count()), frozen: OnceCell::new() })
    }

    /// Creates an empty draft in memory, for a cache that cannot be written to.
    ///
    /// # Errors
    /// As memfd_create(2).
    pub fn in_memory(key: &Key) -> io::Result<Self> {
        Ok(Self { place: Place::Memory(InMemory::new(key.node_memory())?), frozen: OnceCell::new() })
    }

    /// The paths of the files for the guest's memory, one for each node.
    #[must_use]
    pub fn ram(&self) -> Vec<PathBuf> {
        match &self.place {
            Place::Staging(staging, nodes) => ram_files(staging.path(), *nodes),
            Place::Memory(memory) => memory.ram(),
        }
    }

    /// Creates the file for the device state.
    ///
    /// # Errors
    /// [`CacheError`] if the file cannot be created.
    pub fn create_state(&self) -> Result<File, CacheError> {
        match &self.place {
            Place::Staging(staging, _) => {
                let path = staging.path().join(STATE);
                File::create_new(&path).map_err(CacheError::on("create", &path))
            }
            Place::Memory(memory) => memory.state().map_err(CacheError::on("create", Path::new(STATE))),
        }
    }

    /// Creates the file for the frozen QEMU. None for a draft in memory, whose files have no names.
    ///
    /// # Errors
    /// [`CacheError`] if the file cannot be created.
    pub fn create_image(&self) -> Result<Option<File>, CacheError> {
        match &self.place {
            Place::Staging(staging, _) => frozen::create(staging.path()).map(Some),
            Place::Memory(_) => Ok(None),
        }
    }

    /// Notes that the image is complete.
    pub fn set_frozen(&self, frozen: FrozenImage) {
        // A guest is frozen once, so that this is the first value.
        let _ = self.frozen.set(Ok(frozen));
    }

    /// Notes why there is no image.
    pub fn set_not_frozen(&self, why: String) {
        // A guest is frozen once, so that this is the first value.
        let _ = self.frozen.set(Err(why));
    }

    /// Why QEMU was not frozen; None if it was, or if nobody has tried.
    #[must_use]
    pub fn not_frozen(&self) -> Option<&str> {
        self.frozen.get()?.as_ref().err().map(String::as_str)
    }

    /// Turns the draft into the template of the key, and removes an older one. QEMU must have ended.
    ///
    /// The memory is not flushed to the disk, because that takes longer than all other steps. If a crash of the host
    /// loses a part of it, [`find`] detects that.
    ///
    /// # Errors
    /// [`CacheError`] if the cache cannot be written to.
    pub fn publish(self, cache: &Path, key: &Key, boot: BootReport) -> Result<Template, CacheError> {
        let (staging, nodes) = match self.place {
            Place::Staging(staging, nodes) => (staging, nodes),
            Place::Memory(memory) => {
                let files = Files::Memory(Arc::new(memory));
                return Ok(Template { files, boot, new: true, frozen: None, frozen_damage: None, _lease: None });
            }
        };
        let from = staging.path();
        let names: Vec<_> = (0..nodes).map(ram_name).chain([STATE.to_owned()]).collect();
        let about = About {
            key: key.name().to_owned(),
            made_from: key.made_from().clone(),
            boot,
            files: Integrity::of_guest(from, &names.iter().map(String::as_str).collect::<Vec<_>>())?,
        };
        checksummed::write(&from.join(ABOUT), &about)?;
        let frozen = self.frozen.into_inner().and_then(Result::ok);
        let image = frozen::describe(from, frozen.as_ref())?;
        let dir = root(cache).join(key.name());
        discard(cache, key)?;
        // The lease follows the directory through the rename.
        let lease = Lease::shared(from);
        fs::rename(from, &dir).map_err(CacheError::on("rename into place", &dir))?;
        about.files.remember(&dir, cache, Lasts::UntilReboot);
        if let Some(image) = image {
            image.remember(&dir, cache, Lasts::UntilReboot);
        }
        let About { boot, .. } = about;
        Ok(Template {
            files: Files::Directory(dir, nodes),
            boot,
            new: true,
            frozen,
            frozen_damage: None,
            _lease: lease,
        })
    }
}

/// Removes the template of a key, unless another process makes or uses it: such a process opens the files for each
/// fork.
///
/// # Errors
/// [`CacheError`] if the cache cannot be read or written to.
pub fn remove(cache: &Path, key: &Key) -> Result<Removal, CacheError> {
    match list::entry(cache, key.name()) {
        Some(entry) => cache::remove(cache, &entry),
        None => Ok(Removal::Gone),
    }
}

/// Removes the directory of a key. The caller has the key's lock. Running forks keep their mappings.
fn discard(cache: &Path, key: &Key) -> Result<(), CacheError> {
    let dir = root(cache).join(key.name());
    atomic::remove_tree(&dir).map_err(CacheError::on("remove", &dir))
}

impl Template {
    /// The paths of the files with the guest's memory, one for each node.
    #[must_use]
    pub fn ram(&self) -> Vec<PathBuf> {
        match &self.files {
            Files::Directory(dir, nodes) => ram_files(dir, *nodes),
            Files::Memory(memory) => memory.ram(),
        }
    }

    /// Opens the frozen QEMU and the guest's memory, for reading.
    ///
    /// # Errors
    /// As open(2); the files may be gone.
    pub fn open_frozen(&self) -> io::Result<(File, Vec<File>)> {
        let Files::Directory(dir, _) = &self.files else { return Err(io::ErrorKind::NotFound.into()) };
        let image = regular::open(&dir.join(frozen::IMAGE))?;
        Ok((image, self.ram().iter().map(|ram| regular::open(ram)).collect::<io::Result<_>>()?))
    }

    /// Opens the device state for a fork.
    ///
    /// # Errors
    /// As open(2); the file may be gone.
    pub fn open_state(&self) -> io::Result<File> {
        match &self.files {
            Files::Directory(dir, _) => regular::open(&dir.join(STATE)),
            Files::Memory(memory) => memory.open_state(),
        }
    }
}

#[cfg(test)]
mod tests;
