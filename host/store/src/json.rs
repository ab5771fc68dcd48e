//! Small JSON files of the cache. One that is malformed, or no file at all, is no failure of the cache: it is damage,
//! which a fetch mends.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lock::is_absence;
use super::{CacheError, atomic, plain};

/// No file that vmlab writes comes near it.
const LIMIT_BYTES: u64 = 4 << 20;

/// What was found.
#[derive(Debug)]
pub enum Json<T> {
    /// No such file.
    Missing,
    /// Says what is wrong with it.
    Malformed(String),
    /// The value.
    Read(T),
}

/// Reads a file.
///
/// # Errors
/// The host does not let it be read.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Json<T>, CacheError> {
    match plain::read(path, LIMIT_BYTES) {
        Ok(bytes) => Ok(parsed(path, serde_json::from_slice(&bytes))),
        Err(error) if is_absence(&error) => Ok(Json::Missing),
        Err(error) => {
            plain::damage(path, &error).map(Json::Malformed).ok_or_else(|| CacheError::on("read", path)(error))
        }
    }
}

/// What came of reading a file's text.
pub(super) fn parsed<T>(path: &Path, value: serde_json::Result<T>) -> Json<T> {
    value.map_or_else(|error| Json::Malformed(format!("{} is malformed ({error})", path.display())), Json::Read)
}

/// Writes a file whole.
///
/// # Errors
/// [`CacheError`]
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), CacheError> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|error| CacheError::on("write", path)(io::Error::other(error)))?;
    text.push(b'\n');
    atomic::write(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{ODDITIES, put};

    #[test]
    fn whatever_stands_in_a_files_place_is_malformed_and_goes_when_the_file_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        for (name, oddity) in ODDITIES {
            put(&path, oddity);
            assert!(matches!(read::<u32>(&path).unwrap(), Json::Malformed(_)), "{name}");
            write(&path, &7).unwrap();
            assert!(matches!(read::<u32>(&path).unwrap(), Json::Read(7)), "{name}");
        }
        assert!(matches!(read::<String>(&path).unwrap(), Json::Malformed(_)));
        assert!(matches!(read::<u32>(&dir.path().join("none")).unwrap(), Json::Missing));
    }
}
