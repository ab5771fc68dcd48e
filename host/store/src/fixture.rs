//! Files for tests of what is kept on disk.
#![expect(clippy::unwrap_used, reason = "made for tests only")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};

/// Puts something in a file's place.
pub type Oddity = fn(&Path);

/// All that can stand in a file's place without being root.
pub const ODDITIES: [(&str, Oddity); 4] = [
    ("a directory", |path| fs::create_dir_all(path.join("with/something")).unwrap()),
    ("a FIFO", |path| nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap()),
    ("a socket", |path| mknod(path, SFlag::S_IFSOCK, Mode::S_IRWXU, 0).unwrap()),
    ("an endless link", |path| symlink(path, path).unwrap()),
];

/// Takes away what is at a path and puts an oddity there.
pub fn put(path: &Path, oddity: Oddity) {
    crate::atomic::remove_tree(path).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    oddity(path);
}

/// A program that has not been touched for a while, as the test's own may have been: a ctime cannot be set.
pub fn old_file() -> PathBuf {
    fs::canonicalize("/bin/sh").unwrap()
}
