//! Creates files and directories atomically: they are written under a temporary name, flushed, and renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::{Builder, NamedTempFile};

use crate::CacheError;

/// The number of attempts to remove a directory. A child process that has just been killed may still create a file in
/// it.
const REMOVALS: u32 = 50;
/// The pause between two attempts.
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// Writes a file atomically. Its directory must exist. A directory at the file's path is removed.
///
/// # Errors
/// [`CacheError`]; an earlier file at this path is then unchanged.
pub fn write(path: &Path, contents: &[u8]) -> Result<(), CacheError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = temporary(dir, ".tmp", 0o600).map_err(CacheError::on("write in", dir))?;
    // Not through the NamedTempFile, whose errors contain the temporary name: it means nothing to the user.
    file.as_file_mut().write_all(contents).map_err(CacheError::on("write", path))?;
    file.as_file().sync_all().map_err(CacheError::on("flush", path))?;
    // rename(2) replaces everything but a directory.
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

/// Creates a temporary file, which is removed when it is dropped. The umask applies to the permissions.
///
/// The errors of the tempfile crate's own function contain the temporary name, which means nothing to the user.
///
/// # Errors
/// As open(2).
pub fn temporary(dir: &Path, prefix: &str, permissions: u32) -> io::Result<NamedTempFile> {
    let open = |path: &Path| File::options().read(true).write(true).create_new(true).mode(permissions).open(path);
    Builder::new().prefix(prefix).make_in(dir, open)
}

/// Flushes the entries of a directory, but not the contents of its files.
///
/// # Errors
/// [`CacheError`]
pub fn sync_dir(dir: &Path) -> Result<(), CacheError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(CacheError::on("flush", dir))
}

/// Flushes the file system of a directory (syncfs(2)), which is faster than flushing each of a thousand kernel modules.
///
/// # Errors
/// [`CacheError`]
pub fn sync_tree(dir: &Path) -> Result<(), CacheError> {
    File::open(dir).and_then(|dir| Ok(nix::unistd::syncfs(&dir)?)).map_err(CacheError::on("flush", dir))
}

/// Creates a directory and its parents.
///
/// # Errors
/// [`CacheError`]
pub fn create_dir(dir: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(dir).map_err(CacheError::on("create", dir))
}

/// A directory in which an entry is prepared. Dropping this removes it with its contents.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    /// Creates the empty directory and removes the remains of a killed process. The caller must have the lock that
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

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A failure is harmless: the next process that prepares this entry removes the remains.
        let _ = remove_tree(&self.path);
    }
}

/// Removes a file of any type, or a directory with its contents. A missing file is no error.
///
/// # Errors
/// The file or directory still exists.
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
    fn a_file_is_replaced_and_no_temporary_file_stays() {
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
