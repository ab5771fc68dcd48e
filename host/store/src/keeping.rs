//! What is kept only to save time: images, unpacked kernels, memos. A cache that does not take one of them ends no run;
//! the user is told of it, once for each reason.

use std::collections::BTreeSet;

use super::CacheError;

/// What came of keeping such things.
#[derive(Debug, Default)]
pub struct Keeping {
    /// Something was put into the cache, which may be over its limit now.
    pub grown: bool,
    /// What could not be kept, and why.
    not_kept: Vec<(&'static str, CacheError)>,
}

impl Keeping {
    /// Something, named as in `the guest image`, was to be kept. Gives what keeping it gave.
    pub fn note<T>(&mut self, what: &'static str, kept: Result<T, CacheError>) -> Option<T> {
        kept.map_err(|error| self.not_kept.push((what, error))).ok()
    }

    /// Adds what came of other things.
    pub fn add(&mut self, other: Self) {
        self.grown |= other.grown;
        self.not_kept.extend(other.not_kept);
    }

    /// A line for each reason, with all that could not be kept for it.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let mut reasons: Vec<(&CacheError, BTreeSet<&str>)> = Vec::new();
        for (what, error) in &self.not_kept {
            match reasons.iter_mut().find(|(known, _)| known.has_reason_of(error)) {
                Some((_, things)) => drop(things.insert(what)),
                None => reasons.push((error, BTreeSet::from([*what]))),
            }
        }
        let line = |(error, things): (&CacheError, BTreeSet<&str>)| {
            let things: Vec<_> = things.into_iter().collect();
            let (cause, remedy) = (error.cause(), error.remedy());
            format!("not kept for the next run, which makes it again: {}: {cause}; {remedy}", things.join(", "))
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
    fn a_reason_is_told_once_with_all_that_it_hindered() {
        let failed = |path: &str, kind: ErrorKind| CacheError::on("write in", Path::new(path))(kind.into());
        let (denied, full) = (ErrorKind::PermissionDenied, ErrorKind::StorageFull);
        let mut keeping = Keeping::default();
        assert_eq!(keeping.note("the image", Ok(1)), Some(1));
        assert_eq!(keeping.notices(), Vec::<String>::new());
        for (what, path, kind) in [
            ("the image", "/a", denied),
            ("facts", "/b", denied),
            ("the image", "/c", denied),
            ("a kernel", "/d", full),
        ] {
            let mut other = Keeping::default();
            assert_eq!(other.note(what, Err::<(), _>(failed(path, kind))), None);
            keeping.add(other);
        }
        let notices = keeping.notices();
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert!(notices[0].contains("facts, the image: ") && notices[0].contains("cannot write in /a"), "{notices:?}");
        assert!(notices[1].contains("a kernel: ") && notices[1].contains("free some space"), "{notices:?}");
    }
}
