//! Files and directories that are there whole or not at all: written under another name, flushed, renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::{Builder, NamedTempFile};

use crate::CacheError;

/// How often, and how far apart, removing a staging directory is tried. A child that has just been killed may still be
/// creating a file in it.
const REMOVALS: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// Writes a file whole. Its directory must exist. A directory that stands in the file's place is removed.
///
/// # Errors
/// [`CacheError`]; what was there before is then unchanged.
pub fn write(path: &Path, contents: &[u8]) -> Result<(), CacheError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = temporary(dir, ".tmp", 0o600).map_err(CacheError::on("write in", dir))?;
    // Through the file itself: the error of a named file has its temporary name, which means nothing to the user.
    file.as_file_mut().write_all(contents).map_err(CacheError::on("write", path))?;
    file.as_file().sync_all().map_err(CacheError::on("flush", path))?;
    // rename(2) puts a file in the place of anything else.
    let persisted = match file.persist(path) {
        Err(error) if error.error.kind() == io::ErrorKind::IsADirectory => {
            remove_tree(path).map_err(CacheError::on("remove", path))?;
            error.file.persist(path)
        }
        other => other,
    };
    persisted.map_err(|error| CacheError::on("write", path)(error.error))?;
    sync_dir(dir)
}

/// A temporary file in a directory, which is removed when it is dropped. The umask applies to the permissions.
///
/// The tempfile crate's own function puts the temporary name into errors, where it means nothing to the user.
///
/// # Errors
/// As open(2).
pub fn temporary(dir: &Path, prefix: &str, permissions: u32) -> io::Result<NamedTempFile> {
    let open = |path: &Path| File::options().read(true).write(true).create_new(true).mode(permissions).open(path);
    Builder::new().prefix(prefix).make_in(dir, open)
}

/// Flushes a directory's own entries.
///
/// # Errors
/// [`CacheError`]
pub fn sync_dir(dir: &Path) -> Result<(), CacheError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(CacheError::on("flush", dir))
}

/// Flushes everything below a directory. One call for its file system (syncfs(2)) instead of one for each of a
/// thousand kernel modules.
///
/// # Errors
/// [`CacheError`]
pub fn sync_tree(dir: &Path) -> Result<(), CacheError> {
    File::open(dir).and_then(|dir| Ok(nix::unistd::syncfs(&dir)?)).map_err(CacheError::on("flush", dir))
}

/// Creates a directory and all above it.
///
/// # Errors
/// [`CacheError`]
pub fn create_dir(dir: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(dir).map_err(CacheError::on("create", dir))
}

/// A directory to prepare something in, which is removed with its contents when this is dropped.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    /// Creates the directory, empty. What a killed process left there is removed, so the caller must have the lock that
    /// makes it the only user of this path.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn new(path: PathBuf) -> Result<Self, CacheError> {
        remove_tree(&path).map_err(CacheError::on("remove", &path))?;
        let staging = Self { path };
        create_dir(&staging.path)?;
        Ok(staging)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Nothing depends on this: the next process that prepares the same thing removes what is left here.
        let _ = remove_tree(&self.path);
    }
}

/// Removes a directory with its contents, or whatever else is there, if anything is.
///
/// # Errors
/// It is still there.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_dir()) {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if !path.exists() => return Ok(()),
            io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty if tries < REMOVALS => {
                thread::sleep(REMOVAL_PAUSE);
            }
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_no_other_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ref.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_staging_directory_starts_empty_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("staging");
        fs::create_dir_all(path.join("left/over")).unwrap();
        let staging = Staging::new(path.clone()).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::create_dir_all(path.join("a/b")).unwrap();
        drop(staging);
        assert!(!path.exists());
    }

    #[test]
    fn an_error_does_not_name_the_temporary_file() {
        let error = write(Path::new("/no/such/dir/x"), b"").unwrap_err().to_string();
        assert!(error.contains("cannot write in /no/such/dir: No such file or directory (os error 2); "), "{error}");
    }

    #[test]
    fn an_error_names_the_directory_and_the_variable() {
        let error = write(Path::new("/proc/none/x"), b"").unwrap_err().to_string();
        assert!(error.contains("/proc/none") && error.contains("XDG_CACHE_HOME"), "{error}");
    }
}
