//! The identity of a source tree: a digest of its files. The same files give the same digest, wherever and whenever.
//!
//! In a git repository, git's index knows the contents of unchanged files. In other trees each file is read once, and again
//! when stat(2) reports a change. Nothing is written to the tree, not even git's index.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

mod files;
mod git;

pub use files::TREES;

/// Why a tree has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}, a part of the source tree: {cause}")]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The user stopped vmlab.
    #[error("reading the source tree was stopped")]
    Stopped,
}

/// The digest of a tree's files, in hexadecimal. Blocks: the first time it may read the whole tree. A repository that git cannot
/// read is read file by file.
///
/// # Errors
/// [`IdentityError`]
pub fn of(tree: &Path, cache: &Path, stopped: &AtomicBool) -> Result<String, IdentityError> {
    match git::identity(tree) {
        Some(identity) => Ok(identity),
        None => files::identity(tree, cache, stopped),
    }
}

/// Adds a text of any bytes to a digest so that two texts cannot be taken for others.
fn add(hash: &mut sha2::Sha256, text: &[u8]) {
    use sha2::Digest as _;
    hash.update(text.len().to_le_bytes());
    hash.update(text);
}

#[cfg(test)]
mod tests;
