//! Warnings about the cache. Images, unpacked kernels and facts are stored only to save time, so a failure to store
//! them does not end a run. The user gets one warning for each reason.

use std::collections::BTreeSet;

use crate::CacheError;

/// The results of storing entries in the cache.
#[derive(Debug, Default)]
pub struct CacheWarnings {
    /// Whether an entry was stored, so that the cache may exceed its limit now.
    pub grown: bool,
    /// The entries that could not be stored, and the errors.
    not_stored: Vec<(&'static str, CacheError)>,
}

impl CacheWarnings {
    /// Records the result of storing an entry, for example `the guest image`; returns the value.
    pub fn note<T>(&mut self, what: &'static str, stored: Result<T, CacheError>) -> Option<T> {
        stored.map_err(|error| self.not_stored.push((what, error))).ok()
    }

    /// Adds other warnings.
    pub fn add(&mut self, other: Self) {
        self.grown |= other.grown;
        self.not_stored.extend(other.not_stored);
    }

    /// One line for each reason, with the names of the entries that could not be stored.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let mut reasons: Vec<(&CacheError, BTreeSet<&str>)> = Vec::new();
        for (what, error) in &self.not_stored {
            match reasons.iter_mut().find(|(known, _)| known.has_reason_of(error)) {
                Some((_, things)) => drop(things.insert(what)),
                None => reasons.push((error, BTreeSet::from([*what]))),
            }
        }
        let line = |(error, things): (&CacheError, BTreeSet<&str>)| {
            let things: Vec<_> = things.into_iter().collect();
            let (cause, remedy) = (error.cause(), error.remedy());
            format!("could not store {} for the next run: {cause}; {remedy}", things.join(" and "))
        };
        reasons.into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;

    use super::*;

    #[test]
    fn each_reason_is_one_line_with_all_entries_that_could_not_be_stored() {
        let failed = |path: &str, kind: ErrorKind| CacheError::on("write in", Path::new(path))(kind.into());
        let (denied, full) = (ErrorKind::PermissionDenied, ErrorKind::StorageFull);
        let mut warnings = CacheWarnings::default();
        assert_eq!(warnings.note("the image", Ok(1)), Some(1));
        assert_eq!(warnings.notices(), Vec::<String>::new());
        for (what, path, kind) in [
            ("the image", "/a", denied),
            ("facts", "/b", denied),
            ("the image", "/c", denied),
            ("a kernel", "/d", full),
        ] {
            let mut other = CacheWarnings::default();
            assert_eq!(other.note(what, Err::<(), _>(failed(path, kind))), None);
            warnings.add(other);
        }
        let notices = warnings.notices();
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert!(notices[0].contains("facts and the image for the next run: cannot write in /a"), "{notices:?}");
        assert!(notices[1].contains("store a kernel for") && notices[1].contains("free some space"), "{notices:?}");
    }
}
