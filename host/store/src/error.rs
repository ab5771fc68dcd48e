//! Errors of the cache.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on the cache. Its display names the operation, the path, the cause and the remedy.
#[derive(Debug)]
pub struct CacheError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl CacheError {
    /// For `map_err`: the operation, for example `create`, and its file.
    pub fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self { action, path: path.to_owned(), cause }
    }

    /// The kind of the system's error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }

    /// Whether the cache can be read and not be written to, because of a read-only mount or permissions.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
    }

    /// The operation and the system's error, without the remedy: `cannot read /c/x: Permission denied (os error 13)`.
    #[must_use]
    pub fn cause(&self) -> String {
        let Self { action, path, cause } = self;
        format!("cannot {action} {}: {cause}", path.display())
    }

    /// The remedy: `make it readable for this user, or …`.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        remedy(self.action, self.cause.kind())
    }

    /// Whether another operation failed for the same reason, on any file.
    #[must_use]
    pub fn has_reason_of(&self, other: &Self) -> bool {
        self.remedy() == other.remedy() && self.cause.to_string() == other.cause.to_string()
    }

    /// One line for each reason: the first error, and the number of further ones.
    #[must_use]
    pub fn by_reason(errors: &[Self]) -> Vec<String> {
        let mut reasons: Vec<(&Self, usize)> = Vec::new();
        for error in errors {
            match reasons.iter_mut().find(|(known, _)| known.has_reason_of(error)) {
                Some((_, count)) => *count += 1,
                None => reasons.push((error, 1)),
            }
        }
        let line = |(error, count): (&Self, usize)| match count - 1 {
            0 => error.to_string(),
            more => format!("{CANNOT}: {}, and {more} more of its files; {}", error.cause(), error.remedy()),
        };
        reasons.into_iter().map(line).collect()
    }
}

/// The beginning of every message.
const CANNOT: &str = "vmlab's cache cannot be used";

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CANNOT}: {}; {}", self.cause(), self.remedy())
    }
}

impl std::error::Error for CacheError {}

/// The operations that only read.
const READS: [&str; 3] = ["read", "list", "look at"];

/// The remedy for an error of an operation.
#[must_use]
fn remedy(action: &str, kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied if READS.contains(&action) => {
            "make it readable for this user, or set XDG_CACHE_HOME to a directory that is"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there, or set XDG_CACHE_HOME to a directory with more of it"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for this user, or set XDG_CACHE_HOME to a directory that is"
        }
        _ => "repair it, or set XDG_CACHE_HOME to another directory",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_with_a_count() {
        let error = |path: &str, kind: io::ErrorKind| CacheError::on("remove", Path::new(path))(kind.into());
        let (denied, full) = (io::ErrorKind::PermissionDenied, io::ErrorKind::StorageFull);
        let lines = CacheError::by_reason(&[error("/a", denied), error("/b", full), error("/c", denied)]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("/a: ") && lines[0].contains("and 1 more") && lines[0].contains("make it writable"));
        assert_eq!(lines[1], error("/b", full).to_string());
        assert_eq!(CacheError::by_reason(&[]), Vec::<String>::new());
    }

    #[test]
    fn the_remedy_fits_the_step() {
        let error = |action, kind: io::ErrorKind| CacheError::on(action, Path::new("/c"))(kind.into()).to_string();
        assert!(error("read", io::ErrorKind::PermissionDenied).contains("make it readable"));
        assert!(error("list", io::ErrorKind::PermissionDenied).contains("make it readable"));
        assert!(error("write in", io::ErrorKind::PermissionDenied).contains("make it writable"));
        assert!(error("write", io::ErrorKind::StorageFull).contains("free some space"));
        assert!(error("read", io::ErrorKind::IsADirectory).contains("repair it"));
    }
}
