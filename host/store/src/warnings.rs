//! Warnings about the cache. Images, unpacked kernels and facts are stored only to save time: a cache that does not take
//! one of them ends no run. The user is warned, once for each reason.

use std::collections::BTreeSet;

use crate::CacheError;

/// What happened to the cache while things were stored in it.
#[derive(Debug, Default)]
pub struct CacheWarnings {
    /// Something was put into the cache, which may be over its limit now.
    pub grown: bool,
    /// What could not be stored, and why.
    not_stored: Vec<(&'static str, CacheError)>,
}

impl CacheWarnings {
    /// Takes the result of storing something, named as in `the guest image`, and gives the value.
    pub fn note<T>(&mut self, what: &'static str, stored: Result<T, CacheError>) -> Option<T> {
        stored.map_err(|error| self.not_stored.push((what, error))).ok()
    }

    /// Adds the warnings about other things.
    pub fn add(&mut self, other: Self) {
        self.grown |= other.grown;
        self.not_stored.extend(other.not_stored);
    }

    /// A line for each reason, with all that could not be stored for it.
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
            format!("not stored for the next run, which makes it again: {}: {cause}; {remedy}", things.join(", "))
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
    fn a_reason_is_told_once_with_everything_that_it_prevented() {
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
        assert!(notices[0].contains("facts, the image: ") && notices[0].contains("cannot write in /a"), "{notices:?}");
        assert!(notices[1].contains("a kernel: ") && notices[1].contains("free some space"), "{notices:?}");
    }
}
