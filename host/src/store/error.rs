//! Why the cache could not be used, told so that the user can mend it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A step on the cache that failed.
#[derive(Debug)]
pub struct CacheError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl CacheError {
    /// For `map_err`: what was being done, as `create`, to what.
    pub fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self { action, path: path.to_owned(), cause }
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, path, cause } = self;
        write!(f, "vmlab's cache cannot be used: cannot {action} {}: {cause}; {}", path.display(), remedy(cause.kind()))
    }
}

impl std::error::Error for CacheError {}

/// What to do about a kind of failure on the cache.
#[must_use]
pub const fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there, or set XDG_CACHE_HOME to a directory with more of it"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for this user, or set XDG_CACHE_HOME to a directory that is"
        }
        _ => "mend that, or set XDG_CACHE_HOME to another directory",
    }
}
