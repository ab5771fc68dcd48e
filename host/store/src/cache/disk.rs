//! Reads directories while other processes may remove parts of them.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::CacheError;
use crate::regular::is_absence;

/// The unit of `st_blocks` on every file system (stat(3type)).
const BLOCK_BYTES: u64 = 512;

/// The names and paths of a directory's files, sorted; empty if the directory is missing.
///
/// # Errors
/// [`CacheError`]
pub fn list(dir: &Path) -> Result<Vec<(String, PathBuf)>, CacheError> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CacheError::on("list", dir)(error)),
    };
    let mut names = Vec::new();
    for file in listing {
        let file = file.map_err(CacheError::on("list", dir))?;
        names.push((file.file_name().to_string_lossy().into_owned(), file.path()));
    }
    names.sort();
    Ok(names)
}

/// The disk space of a file, or of a directory with its contents.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// The allocated bytes of all readable parts; holes have none.
    pub(crate) bytes: u64,
    /// The first error.
    pub(crate) unreadable: Option<CacheError>,
}

pub(crate) fn usage(path: &Path) -> Usage {
    let mut usage = Usage::default();
    add(path, &mut usage);
    usage
}

fn add(path: &Path, usage: &mut Usage) {
    let below = look(path).and_then(|file| {
        let Some(file) = file else { return Ok(Vec::new()) };
        usage.bytes += file.blocks() * BLOCK_BYTES;
        if file.is_dir() { list(path) } else { Ok(Vec::new()) }
    });
    match below {
        Ok(below) => below.iter().for_each(|(_, path)| add(path, usage)),
        Err(error) => drop(usage.unreadable.get_or_insert(error)),
    }
}

/// The modification time of a file; `None` if it is missing.
///
/// # Errors
/// [`CacheError`]
pub fn modified(path: &Path) -> Result<Option<SystemTime>, CacheError> {
    look(path)?.map(|file| file.modified().map_err(CacheError::on("look at", path))).transpose()
}

fn look(path: &Path) -> Result<Option<Metadata>, CacheError> {
    match fs::symlink_metadata(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(CacheError::on("look at", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_missing_files_take_no_space() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let empty = usage(dir.path()).bytes;
        fs::File::create(below.join("sparse")).unwrap().set_len(1 << 30).unwrap();
        fs::write(below.join("data"), vec![1; 100_000]).unwrap();
        let data = usage(dir.path()).bytes - empty;
        assert!((100_000..200_000).contains(&data), "{data}");
        let none = usage(&dir.path().join("none"));
        assert!(none.bytes == 0 && none.unreadable.is_none());
        assert_eq!(list(&dir.path().join("none")).unwrap(), []);
        assert_eq!(modified(&dir.path().join("none")).unwrap(), None);
        let error = list(&below.join("data")).unwrap_err().to_string();
        assert!(error.contains("a/b/data"), "{error}");
    }
}
