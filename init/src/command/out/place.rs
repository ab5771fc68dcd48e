//! Finds a path in the layers of a command's root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::Layers;
use crate::sandbox::{During as _, Trouble};
use crate::sys::files::{has_attribute, mount_id};

/// The largest number of symbolic links on one way, as in the kernel (path_resolution(7)).
const LINKS: usize = 40;

/// The attribute of a directory that was renamed: its content lies elsewhere in the lower layer
/// (Documentation/filesystems/overlayfs.rst).
const REDIRECT: &std::ffi::CStr = c"trusted.overlay.redirect";

/// What the command wrote in a directory, or of a file.
pub(super) enum Written {
    /// All that is there.
    All,
    /// What this directory of the upper layer has.
    Upper(File),
    Nothing,
}

/// A file that was found.
pub(super) struct Found {
    /// The file, without access to its content; no symbolic link.
    pub(super) file: File,
    pub(super) written: Written,
    /// The directory that it is in, and its name there; None for the root.
    pub(super) entry: Option<(File, OsString)>,
}

/// Finds a path, which may have symbolic links in it, as the program does. None if nothing is there.
pub(super) fn find(layers: &Layers, path: &Path) -> Result<Option<Found>, Trouble> {
    let mut way = vec![root(layers)?];
    let mut names: VecDeque<OsString> = names_of(path).into();
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        if name == ".." {
            way.truncate((way.len() - 1).max(1));
            continue;
        }
        let Some(here) = way.last() else { return Ok(None) };
        let file = match open(&here.file, &name, OFlag::O_PATH) {
            Ok(file) => file,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(errno) => return Err(errno).during(format_args!("open({})", path.display())),
        };
        if !is(&fstat(&file).during("fstat")?, SFlag::S_IFLNK) {
            let written = if is_mount_point(&here.file, &file)? { Written::All } else { here.written.below(&name)? };
            let entry = Some((here.file.try_clone().during("dup")?, name));
            way.push(Found { file, written, entry });
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Errno::ELOOP).during(format_args!("open({})", path.display()));
        }
        let target = readlinkat(&file, "").during("readlinkat")?;
        if target.as_bytes().starts_with(b"/") {
            way.truncate(1);
        }
        for name in names_of(Path::new(&target)).into_iter().rev() {
            names.push_front(name);
        }
    }
    Ok(way.pop())
}

fn root(layers: &Layers) -> Result<Found, Trouble> {
    let written = match &layers.upper {
        Some(upper) => Written::Upper(upper.try_clone().during("dup")?),
        None => Written::All,
    };
    Ok(Found { file: layers.root.try_clone().during("dup")?, written, entry: None })
}

impl Written {
    /// What the command wrote of an entry of this directory, which exists.
    pub(super) fn below(&self, name: &OsStr) -> Result<Self, Trouble> {
        let upper = match self {
            Self::All => return Ok(Self::All),
            Self::Nothing => return Ok(Self::Nothing),
            Self::Upper(upper) => upper,
        };
        match open(upper, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(upper) if has_attribute(&upper, REDIRECT).during("fgetxattr")? => Ok(Self::All),
            Ok(upper) => Ok(Self::Upper(upper)),
            Err(Errno::ENOENT) => Ok(Self::Nothing),
            // It is a file.
            Err(Errno::ENOTDIR | Errno::ELOOP) => Ok(Self::All),
            Err(errno) => Err(errno).during(format_args!("open({}) in the upper layer", name.display())),
        }
    }
}

/// Opens an entry of a directory; a symbolic link is not followed.
pub(super) fn open(directory: &File, name: &OsStr, flags: OFlag) -> Result<File, Errno> {
    openat(directory, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
}

/// Whether a file is on another mount than its directory.
pub(super) fn is_mount_point(directory: &File, file: &File) -> Result<bool, Trouble> {
    Ok(mount_id(directory).during("statx")? != mount_id(file).during("statx")?)
}

pub(super) fn is(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & libc::S_IFMT == kind.bits()
}

/// The names of a path, with `..` among them.
fn names_of(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(OsStr::to_owned(name)),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}
