//! Templates: booted guests, saved at the moment at which their agent waits for its first order. Any number of guests
//! can be started from one, each at the price of a process.
//!
//! A template is a directory of three files: the guest's memory, as QEMU wrote it (`ram`, mapped privately by every
//! fork), its device state (`state`), and what is known of both (`template.json`). It appears whole, by a rename, under
//! the name of its key.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use vmlab_protocol::message::Hello;

use key::Key;
use mark::Mark;
use vmlab_store::atomic;
use vmlab_store::cache::remove::{self, Removal};
use vmlab_store::hold::{Hold, touch};
use vmlab_store::json::Json;
use vmlab_store::{CacheError, plain, sealed};

pub mod inventory;
pub mod key;
mod mark;
pub mod refusal;

/// Name of the memory's file.
pub const RAM: &str = "ram";
/// Name of the device state's file.
pub const STATE: &str = "state";
/// Name of the description's file.
const ABOUT: &str = "template.json";
/// What follows the key in the name of a template in the making, or in the unmaking.
const DRAFT: &str = ".draft";
/// The same for the lock of those who make or unmake it.
const LOCK: &str = ".lock";

/// A template that can be used.
#[derive(Debug, Clone)]
pub struct Template {
    dir: PathBuf,
    /// What the template's guest said when it was ready; its forks do not say it again.
    pub hello: Hello,
    /// What its boot left to be said, such as its kernel's warnings; its forks do not show that.
    pub boot_notes: Vec<String>,
    /// It was made a moment ago, by this process.
    pub new: bool,
    /// Keeps it in the cache while forks are made from it.
    _hold: Option<Hold>,
}

/// What `template.json` holds, with a checksum.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// The key, so that a directory under a wrong name is found out.
    key: String,
    /// What the key was made from, for people.
    made_from: serde_json::Value,
    hello: Hello,
    boot_notes: Vec<String>,
    ram: Mark,
    state: Mark,
    /// The host's boot id when the files' marks were taken: what was not written out before a crash of the host is
    /// found out by comparing contents once after each boot.
    host_boot_id: String,
}

/// What there is under a key.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Something that is not what it was, and why that is known.
    Damaged(String),
    /// A template.
    Whole(Box<Template>),
}

/// Where templates are kept.
#[must_use]
pub fn root(cache: &Path) -> PathBuf {
    cache.join("templates")
}

/// Looks for the template of a key.
///
/// # Errors
/// The cache cannot be read, or this user's QEMU may not open the memory.
pub fn find(cache: &Path, key: &Key) -> Result<Found, CacheError> {
    let dir = root(cache).join(key.name());
    // First, so that it is not taken away while it is looked at.
    let Some(hold) = Hold::share(&dir) else { return Ok(Found::Nothing) };
    if let Some(why) = plain::no_directory(&dir) {
        return Ok(Found::Damaged(why));
    }
    let about: About = match sealed::read(&dir.join(ABOUT))? {
        Json::Missing if !dir.exists() => return Ok(Found::Nothing),
        Json::Missing => return Ok(Found::Damaged(format!("{} has no {ABOUT}", dir.display()))),
        Json::Malformed(why) => return Ok(Found::Damaged(why)),
        Json::Read(about) => about,
    };
    // The name is a hash of the ingredients; what is copied under another name is found out by these themselves.
    if about.key != key.name() || about.made_from != *key.made_from() {
        return Ok(Found::Damaged(format!("{} holds the template of another key", dir.display())));
    }
    match verify(&dir, about) {
        Ok(Ok((hello, boot_notes))) => {
            let ram = dir.join(RAM);
            // QEMU opens a fork's memory for writing, although it writes to pages of its own (7.2, file_ram_open in
            // softmmu/physmem.c). Where it may not, that is known without starting one.
            File::options().read(true).write(true).open(&ram).map_err(CacheError::on("open for writing", &ram))?;
            // For whoever makes room: what was used last goes last.
            touch(&dir.join(ABOUT));
            Ok(Found::Whole(Box::new(Template { dir, hello, boot_notes, new: false, _hold: Some(hold) })))
        }
        Ok(Err(why)) => Ok(Found::Damaged(why)),
        Err(error) => match plain::damage(&dir, &error) {
            Some(_) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Found::Damaged(format!("a file is missing in {}", dir.display())))
            }
            Some(why) => Ok(Found::Damaged(why)),
            None => Err(CacheError::on("read", &dir)(error)),
        },
    }
}

/// Whether both files are what they were. Their marks tell at once; where those have changed, the contents decide.
fn verify(dir: &Path, about: About) -> io::Result<Result<(Hello, Vec<String>), String>> {
    let now = host_boot_id()?;
    let same_boot = about.host_boot_id == now;
    let (ram, state) = (dir.join(RAM), dir.join(STATE));
    if same_boot && about.ram.is_unchanged(&ram)? && about.state.is_unchanged(&state)? {
        return Ok(Ok((about.hello, about.boot_notes)));
    }
    for (mark, path) in [(&about.ram, &ram), (&about.state, &state)] {
        if !mark.has_same_content(path)? {
            return Ok(Err(format!("{} is not what was saved", path.display())));
        }
    }
    let about = About { ram: Mark::of(&ram)?, state: Mark::of(&state)?, host_boot_id: now, ..about };
    // Where the cache is read-only the contents are compared again next time, and that is all.
    let _ = sealed::write(&dir.join(ABOUT), &about);
    Ok(Ok((about.hello, about.boot_notes)))
}

fn host_boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim_end().to_owned())
}

/// A template in the making: the files that QEMU writes.
#[derive(Debug)]
pub struct Draft {
    staging: atomic::Staging,
}

impl Draft {
    /// An empty one, for a guest with so much memory. The caller holds the key's lock.
    ///
    /// # Errors
    /// The cache cannot be written, or has no room for the memory: QEMU would find that out page by page, and die of
    /// SIGBUS.
    pub fn new(cache: &Path, key: &Key, memory_bytes: u64) -> Result<Self, CacheError> {
        let staging = atomic::Staging::new(root(cache).join(format!("{}{DRAFT}", key.name())))?;
        let failed = |error: io::Error| CacheError::on("keep a guest's memory in", staging.path())(error);
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

    /// Makes it the template of the key; QEMU must have ended. What was there before goes.
    ///
    /// The memory is not forced to the disk: that would cost more than all the rest, and what a crash of the host left
    /// out is found out by [`find`].
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn keep(self, cache: &Path, key: &Key, hello: Hello, boot_notes: Vec<String>) -> Result<Template, CacheError> {
        let from = self.staging.path();
        let mark = |name: &str| Mark::of(&from.join(name)).map_err(CacheError::on("read", &from.join(name)));
        let about = About {
            key: key.name().to_owned(),
            made_from: key.made_from().clone(),
            hello,
            boot_notes,
            ram: mark(RAM)?,
            state: mark(STATE)?,
            host_boot_id: host_boot_id().map_err(CacheError::on("identify the boot of", Path::new("this machine")))?,
        };
        sealed::write(&from.join(ABOUT), &about)?;
        let dir = root(cache).join(key.name());
        discard(cache, key)?;
        // The hold goes with it through the rename.
        let hold = Hold::share(from);
        fs::rename(from, &dir).map_err(CacheError::on("rename into place", &dir))?;
        let About { hello, boot_notes, .. } = about;
        Ok(Template { dir, hello, boot_notes, new: true, _hold: hold })
    }
}

/// Takes away the template of a key, unless another vmlab makes one or uses it: whoever uses it opens its files for each
/// fork.
///
/// # Errors
/// The cache cannot be read or written.
pub fn take_away(cache: &Path, key: &Key) -> Result<Removal, CacheError> {
    match inventory::entry(cache, key.name()) {
        Some(entry) => remove::remove(cache, &entry),
        None => Ok(Removal::Gone),
    }
}

/// Removes what there is under a key. The caller holds the key's lock. Guests that were started from it keep what they
/// have mapped.
///
/// # Errors
/// The cache cannot be written.
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
        plain::open(&self.dir.join(STATE))
    }
}

#[cfg(test)]
mod tests;
