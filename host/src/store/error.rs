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
        write!(
            f,
            "vmlab's cache cannot be used: cannot {action} {}: {cause}; {}",
            path.display(),
            remedy(action, cause.kind())
        )
    }
}

impl std::error::Error for CacheError {}

/// The steps that only look.
const LOOKS: [&str; 2] = ["read", "list"];

/// What to do about a kind of failure of a step on the cache.
#[must_use]
fn remedy(action: &str, kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied if LOOKS.contains(&action) => {
            "make it readable for this user, or set XDG_CACHE_HOME to a directory that is"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there, or set XDG_CACHE_HOME to a directory with more of it"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for this user, or set XDG_CACHE_HOME to a directory that is"
        }
        _ => "mend that, or set XDG_CACHE_HOME to another directory",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_fits_the_step() {
        let error = |action, kind: io::ErrorKind| CacheError::on(action, Path::new("/c"))(kind.into()).to_string();
        assert!(error("read", io::ErrorKind::PermissionDenied).contains("make it readable"));
        assert!(error("list", io::ErrorKind::PermissionDenied).contains("make it readable"));
        assert!(error("write in", io::ErrorKind::PermissionDenied).contains("make it writable"));
        assert!(error("write", io::ErrorKind::StorageFull).contains("free some space"));
        assert!(error("read", io::ErrorKind::IsADirectory).contains("mend that"));
    }
}
