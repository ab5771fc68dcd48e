//! Small JSON files of the cache. One that is malformed is no failure of the cache: it is damage, which a fetch mends.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CacheError, atomic};

/// What was found.
pub(super) enum Json<T> {
    /// No such file.
    Missing,
    /// Says what is wrong with it.
    Malformed(String),
    /// The value.
    Read(T),
}

/// Reads a file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Json<T>, CacheError> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)
            .map_or_else(|error| Json::Malformed(format!("{} is malformed ({error})", path.display())), Json::Read)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Json::Missing)
        }
        Err(error) => Err(CacheError::on("read", path)(error)),
    }
}

/// Writes a file whole.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), CacheError> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|error| CacheError::on("write", path)(io::Error::other(error)))?;
    text.push(b'\n');
    atomic::write(path, &text)
}
