//! Where a report really goes, however its file is spelt.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::sys::stat::{fstat, makedev};

use super::Target;

/// As many symbolic links are followed as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Device and inode number (inode(7)).
type Inode = (u64, u64);

/// A place that reports can be written to. Two that are equal are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// What is there already.
    There(Inode),
    /// A file that is not there yet: its directory, and its name in it.
    New(Inode, OsString),
}

/// Where a report would go; none for `/dev/null`, which may be shared, and for a standard output that nobody knows.
///
/// # Errors
/// The directory cannot be looked at.
pub fn of(target: &Target) -> io::Result<Option<Place>> {
    let path = match target {
        Target::Stdout => return Ok(of_stdout()),
        Target::File(path) => path,
    };
    match fs::metadata(path) {
        Ok(there) => Ok(of_metadata(&there)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = followed(path);
            let name = path.file_name().ok_or(error)?.to_owned();
            let directory = fs::metadata(directory(&path))?;
            Ok(Some(Place::New((directory.dev(), directory.ino()), name)))
        }
        Err(error) => Err(error),
    }
}

fn of_stdout() -> Option<Place> {
    let there = fstat(io::stdout()).ok()?;
    (there.st_rdev != null()).then_some(Place::There((there.st_dev, there.st_ino)))
}

fn of_metadata(there: &Metadata) -> Option<Place> {
    let lost = there.file_type().is_char_device() && there.rdev() == null();
    (!lost).then(|| Place::There((there.dev(), there.ino())))
}

/// `/dev/null`, of null(4).
const fn null() -> u64 {
    makedev(1, 3)
}

/// The path at the end of a chain of symbolic links, where nothing need be.
pub fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = directory(&path).join(target);
    }
    path
}

/// The directory that a path is in.
pub fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
