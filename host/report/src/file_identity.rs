//! Which file a report goes to, however its path is written.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::sys::stat::{fstat, makedev};

use super::Destination;

/// As many symbolic links are followed as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Device and inode number (inode(7)).
type Inode = (u64, u64);

/// The identity of a file. Two reports with the same identity would be mixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileIdentity {
    /// A file that exists.
    Existing(Inode),
    /// A file that does not exist yet: its directory, and its name in it.
    New(Inode, OsString),
}

/// The file that a report would go to; none for `/dev/null`, which may be shared, and for a standard output that cannot be
/// looked at.
///
/// # Errors
/// The directory cannot be looked at.
pub fn of(destination: &Destination) -> io::Result<Option<FileIdentity>> {
    let path = match destination {
        Destination::Stdout => return Ok(of_stdout()),
        Destination::File(path) => path,
    };
    match fs::metadata(path) {
        Ok(there) => Ok(of_metadata(&there)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = followed(path);
            let name = path.file_name().ok_or(error)?.to_owned();
            let directory = fs::metadata(directory(&path))?;
            Ok(Some(FileIdentity::New((directory.dev(), directory.ino()), name)))
        }
        Err(error) => Err(error),
    }
}

fn of_stdout() -> Option<FileIdentity> {
    let there = fstat(io::stdout()).ok()?;
    (there.st_rdev != null()).then_some(FileIdentity::Existing((there.st_dev, there.st_ino)))
}

fn of_metadata(there: &Metadata) -> Option<FileIdentity> {
    let lost = there.file_type().is_char_device() && there.rdev() == null();
    (!lost).then(|| FileIdentity::Existing((there.dev(), there.ino())))
}

/// `/dev/null`, of null(4).
const fn null() -> u64 {
    makedev(1, 3)
}

/// The path at the end of a chain of symbolic links; nothing needs to exist there.
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
