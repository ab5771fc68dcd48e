//! Builds the guest image: an initramfs with PID 1 and the modules that it loads.
//!
//! Contents:
//!
//! | path | contents |
//! |---|---|
//! | `/init` | PID 1 |
//! | `/dev` `/etc` `/mnt` `/proc` `/root` `/run` `/sys` `/tmp` | empty directories |
//! | `/dev/console` `/dev/null` | the devices that a program needs before `/dev` is mounted |
//! | `/modules/NAME.ko` | decompressed modules; NAME has underscores |
//! | `/modules/boot.list` | the modules to load before the agent starts: a path per line, in load order; may be empty |
//! | `/modules/for/NAME.list` | the modules to load for the module NAME of a scenario; NAME is as in the scenario. The
//! list is empty if the kernel has the module built in, and missing if the kernel lacks it |
//! | `/modules/nodes.json` | device nodes that PID 1 makes for commands |
//! | `/faults/NAME.ko` | modules of the fault suite, in its images only |

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use modules::{Found, ModuleFile, ModuleIndex, ModulesError};
use newc::{Archive, Node};
use vmlab_kernel::modules::ModuleDir;
use vmlab_protocol::command::DeviceNode;
use vmlab_store::blob::{self, Blob, BlobDir};
use vmlab_store::cache::{EntryKind, Listing};
use vmlab_store::lease::Lease;
use vmlab_store::stat_cache::{FACTS, Fact};
use vmlab_store::warnings::CacheWarnings;

pub mod guest_init;
pub mod modules;
pub mod newc;
pub mod recipe;

/// The contents of an image.
#[derive(Debug, Clone)]
pub struct ImageSpec<'a> {
    /// The contents besides PID 1 and scenario modules.
    pub recipe: &'a recipe::Recipe,
    /// The binary of PID 1: [`guest_init::init_binary`].
    pub init: &'a [u8],
    /// The kernel's module directory; None for a kernel without modules.
    pub modules: Option<&'a ModuleDir>,
    /// The names of the modules that scenarios need.
    pub scenario_modules: BTreeSet<&'a str>,
    /// The device nodes that PID 1 makes for commands.
    pub nodes: &'a [DeviceNode],
    /// Modules of the fault suite, by name: they do not belong to the kernel, and a leg loads them.
    pub extra_modules: &'a BTreeMap<String, Vec<u8>>,
    /// vmlab's cache directory, which stores the image as `images/SHA256.cpio`.
    pub cache: &'a Path,
}

/// An image in the cache.
#[derive(Debug, Clone)]
pub struct Image {
    /// The path of the image; an unnamed file if the cache cannot store it.
    pub path: PathBuf,
    /// The SHA-256 of the image, in hexadecimal.
    pub sha256: String,
    /// The size of the image, in bytes.
    pub size_bytes: u64,
    /// The recipe's boot modules that the kernel has neither built in nor as a file. Without them the control port does
    /// not appear. Empty without a module directory or its `modules.builtin`: the kernel may have them built in.
    pub absent: Vec<String>,
    /// Prevents the image's removal while it is used.
    pub lease: Option<Lease>,
    /// The open file of an image that the cache cannot store.
    memory: Option<Arc<OwnedFd>>,
}

/// The remembered properties of an image.
#[derive(Debug, Serialize, Deserialize)]
struct Built {
    sha256: String,
    size_bytes: u64,
    absent: Vec<String>,
}

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// An error of the kernel's modules.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// An error of the archive.
    #[error(transparent)]
    Archive(#[from] newc::NewcError),
    /// A scenario needs a module with an invalid name.
    #[error("a scenario needs the kernel module {0:?}, which is not a valid module name (letters, digits, _ and -)")]
    BadModuleName(String),
    /// The image can be stored neither in the cache nor in memory.
    #[error("{cache}; the guest image cannot be stored in memory either")]
    Nowhere {
        /// The cache's error.
        cache: String,
        /// The system's error for storing it in memory.
        #[source]
        memory: io::Error,
    },
}

/// Builds the image and stores it in the cache, unless the cache has it already. If the cache cannot store the image,
/// it stays in memory. Blocks: it reads, decompresses and hashes some megabytes.
///
/// # Errors
/// [`ImageError`].
pub fn build(spec: &ImageSpec<'_>) -> Result<(Image, CacheWarnings), ImageError> {
    let mut warnings = CacheWarnings::default();
    // A fetched kernel's modules never change, and the rest of the image is in this program's file.
    let fetched = spec.modules.map(|modules| &modules.path).filter(|path| path.starts_with(spec.cache));
    // If this program's file is unknown, the image is built each time.
    let program = std::env::current_exe().ok();
    let (Some(modules), Some(program), true) = (fetched, program, spec.extra_modules.is_empty()) else {
        return Ok((build_anew(spec, &mut warnings)?, warnings));
    };
    let (dep, builtin) = (modules.join("modules.dep"), modules.join("modules.builtin"));
    let ImageSpec { recipe, scenario_modules, nodes, init, .. } = spec;
    let kind = format!("image of {recipe:?}, {scenario_modules:?}, {nodes:?} and {} bytes of init", init.len());
    let files = [program.as_path(), &dep, &builtin];
    let fact = Fact::new(spec.cache, &kind, &files);
    let known =
        fact.get::<Built>().and_then(|known| Some((BLOBS.find(spec.cache, &known.sha256, &known.sha256)?, known)));
    if let Some((blob, Built { size_bytes, absent, .. })) = known {
        return Ok((in_cache(blob, size_bytes, absent), warnings));
    }
    let image = build_anew(spec, &mut warnings)?;
    if image.memory.is_none() {
        let Image { sha256, size_bytes, absent, .. } = image.clone();
        warnings.note(FACTS, fact.put(&Built { sha256, size_bytes, absent }));
    }
    Ok((image, warnings))
}

fn in_cache(Blob { path, sha256, lease, .. }: Blob, size_bytes: u64, absent: Vec<String>) -> Image {
    Image { path, sha256, size_bytes, absent, lease, memory: None }
}

fn build_anew(spec: &ImageSpec<'_>, warnings: &mut CacheWarnings) -> Result<Image, ImageError> {
    let (archive, absent) = assemble(spec)?;
    let bytes = archive.to_bytes()?;
    let sha256 = vmlab_store::hex(&Sha256::digest(&bytes));
    let size_bytes = bytes.len() as u64;
    match BLOBS.put(spec.cache, &sha256, &bytes) {
        Ok(blob) => {
            warnings.grown |= blob.new;
            Ok(in_cache(blob, size_bytes, absent))
        }
        Err(error) => {
            let cache = error.cause();
            warnings.note("the guest image", Err::<(), _>(error));
            let (path, memory) = in_memory(&bytes).map_err(|memory| ImageError::Nowhere { cache, memory })?;
            Ok(Image { path, sha256, size_bytes, absent, lease: None, memory: Some(Arc::new(memory)) })
        }
    }
}

/// An unnamed file (memfd_create(2)), and its path while this process lives (proc(5), `/proc/PID/fd`). A temporary
/// directory would be no alternative: it may be on the same full disk as the cache, and would remain if vmlab were
/// killed.
fn in_memory(bytes: &[u8]) -> io::Result<(PathBuf, OwnedFd)> {
    let mut file = File::from(memfd_create(c"vmlab-image", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    Ok((path, file.into()))
}

/// Building an image again takes a second.
pub static IMAGES: EntryKind =
    EntryKind { name: "image", plural: "images", help: "Initramfs images", rank: Some(3), list };

/// Images: `images/SHA256.cpio`.
const BLOBS: BlobDir = BlobDir { directory: "images", suffix: ".cpio", kind: &IMAGES };

fn list(cache: &Path) -> Listing {
    BLOBS.list(cache, |sha256| format!("initramfs {}", blob::short(sha256)))
}

/// The archive, and the recipe's boot modules that the kernel lacks.
fn assemble(spec: &ImageSpec<'_>) -> Result<(Archive, Vec<String>), ImageError> {
    let mut archive = Archive::default();
    archive.add("init", Node::File { permissions: 0o755, content: spec.init.to_vec() })?;
    for recipe::Directory { path, mode } in spec.recipe.directories.clone() {
        archive.add(&path, Node::Directory { permissions: mode })?;
    }
    for recipe::CharDevice { path, mode, major, minor } in spec.recipe.char_devices.clone() {
        archive.add(&path, Node::CharDevice { permissions: mode, major, minor })?;
    }
    for directory in ["modules", "modules/for"] {
        archive.add(directory, Node::Directory { permissions: 0o755 })?;
    }
    // Plain data always has a JSON form; PID 1 would report an empty list.
    let nodes = serde_json::to_vec(spec.nodes).unwrap_or_default();
    archive.add("modules/nodes.json", Node::File { permissions: 0o644, content: nodes })?;
    let absent = add_modules(&mut archive, spec)?;
    if !spec.extra_modules.is_empty() {
        archive.add("faults", Node::Directory { permissions: 0o755 })?;
    }
    for (name, content) in spec.extra_modules {
        check_name(name)?;
        archive.add(&format!("faults/{name}.ko"), Node::File { permissions: 0o644, content: content.clone() })?;
    }
    Ok((archive, absent))
}

fn add_modules(archive: &mut Archive, spec: &ImageSpec<'_>) -> Result<Vec<String>, ImageError> {
    let Some(directory) = spec.modules else {
        add_list(archive, "boot", &[])?;
        return Ok(Vec::new());
    };
    let index = ModuleIndex::read(directory)?;
    let absent = absent_of(&index, spec.recipe)?;
    let mut carried = BTreeMap::new();
    let mut boot = Vec::new();
    for name in spec.recipe.boot_modules.iter().chain(&spec.recipe.optional_modules) {
        match index.find(name)? {
            Found::Builtin | Found::Absent => {}
            Found::Files(files) => {
                for path in carry(&mut carried, files) {
                    if !boot.contains(&path) {
                        boot.push(path);
                    }
                }
            }
        }
    }
    add_list(archive, "boot", &boot)?;
    for &name in &spec.scenario_modules {
        check_name(name)?;
        match index.find(name)? {
            Found::Absent => {}
            Found::Builtin => add_list(archive, &format!("for/{name}"), &[])?,
            Found::Files(files) => add_list(archive, &format!("for/{name}"), &carry(&mut carried, files))?,
        }
    }
    for (name, file) in &carried {
        let content = modules::read_module(&directory.path, file)?;
        archive.add(&format!("modules/{name}.ko"), Node::File { permissions: 0o644, content })?;
    }
    Ok(absent)
}

/// What [`Image::absent`] will be, without building the image.
///
/// # Errors
/// The list of modules cannot be read.
pub fn absent_modules(recipe: &recipe::Recipe, directory: &ModuleDir) -> Result<Vec<String>, ImageError> {
    absent_of(&ModuleIndex::read(directory)?, recipe)
}

fn absent_of(index: &ModuleIndex, recipe: &recipe::Recipe) -> Result<Vec<String>, ImageError> {
    let mut absent = Vec::new();
    for name in &recipe.boot_modules {
        if matches!(index.find(name)?, Found::Absent) && index.knows_builtin() {
            absent.push(name.clone());
        }
    }
    Ok(absent)
}

/// Records files to include, by module name; returns their paths in the guest.
fn carry(carried: &mut BTreeMap<String, String>, files: Vec<ModuleFile>) -> Vec<String> {
    let paths = files.iter().map(|file| format!("/modules/{}.ko", file.name)).collect();
    carried.extend(files.into_iter().map(|file| (file.name, file.path)));
    paths
}

fn add_list(archive: &mut Archive, name: &str, paths: &[String]) -> Result<(), ImageError> {
    let content = paths.iter().flat_map(|path| [path.as_str(), "\n"]).collect::<String>().into_bytes();
    Ok(archive.add(&format!("modules/{name}.list"), Node::File { permissions: 0o644, content })?)
}

fn check_name(name: &str) -> Result<(), ImageError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(allowed) { Ok(()) } else { Err(ImageError::BadModuleName(name.to_owned())) }
}

#[cfg(test)]
mod tests;
