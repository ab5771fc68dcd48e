//! What vmlab keeps on disk: a cache that can be deleted at any time, and run records.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub mod atomic;
pub mod cache;
pub mod dirs;
pub mod fingerprint;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod hold;
pub mod keeping;
pub mod lock;
pub mod memo;
pub mod plain;
pub mod record;
pub mod sealed;
pub mod shelf;

mod error;
pub mod json;

pub use error::CacheError;

/// The lock between those who put entries into the cache and who take some away: held shared while one is put in place,
/// and alone while one is moved away.
#[must_use]
pub fn changes_lock(cache: &Path) -> PathBuf {
    cache.join("changes.lock")
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of all that is left to read, hexadecimal.
///
/// # Errors
/// Reading failed.
pub fn sha256_of(input: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
