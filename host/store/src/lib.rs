//! vmlab's files on disk: a cache that can be deleted at any time, and run records.
//!
//! A [`blob::Blob`] is one large cache file, written as a whole. A [`stat_cache::Fact`] is an answer that is valid
//! while stat(2) reports its files as unchanged. A [`lease::Lease`] is the lock that marks an entry as in use.
//! [`cache`] lists the entries of all kinds and removes some to make room.
//!
//! There is one integrity scheme. Every small file is checksummed JSON ([`checksummed`]). Digests of large files are
//! stored in checksummed JSON ([`integrity`], [`stat_cache::sha256`]), and large files are read again only if stat(2)
//! reports a change. A damaged file counts as missing: vmlab computes its content again.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub mod atomic;
pub mod blob;
pub mod cache;
pub mod checksummed;
pub mod dirs;
mod error;
mod fingerprint;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod integrity;
pub mod lease;
pub mod lock;
pub mod record;
pub mod regular;
pub mod stat_cache;
pub mod warnings;

pub use error::CacheError;

/// The lock between processes that put entries into the cache and processes that remove entries. It is taken shared to
/// put an entry in place, and exclusively to remove one.
#[must_use]
pub fn changes_lock(cache: &Path) -> PathBuf {
    cache.join("changes.lock")
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of the rest of the input, hexadecimal.
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

/// The identifier of the host's current boot.
///
/// # Errors
/// /proc is not mounted.
pub fn host_boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim_end().to_owned())
}
