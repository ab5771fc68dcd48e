//! Files for tests of the cache.
#![expect(clippy::unwrap_used, reason = "made for tests only")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};

/// Creates a file of some type.
pub type MakeFile = fn(&Path);

/// The types of files, other than regular ones, that a user can create without being root.
pub const NOT_REGULAR: [(&str, MakeFile); 4] = [
    ("a directory", |path| fs::create_dir_all(path.join("with/something")).unwrap()),
    ("a FIFO", |path| nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap()),
    ("a socket", |path| mknod(path, SFlag::S_IFSOCK, Mode::S_IRWXU, 0).unwrap()),
    ("an endless link", |path| symlink(path, path).unwrap()),
];

/// Replaces the file at a path with one of another type.
pub fn put(path: &Path, make: MakeFile) {
    crate::atomic::remove_tree(path).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    make(path);
}

/// A file that was not changed recently. Tests cannot make one, because the ctime cannot be set.
pub fn old_file() -> PathBuf {
    fs::canonicalize("/bin/sh").unwrap()
}
