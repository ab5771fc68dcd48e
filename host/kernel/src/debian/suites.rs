//! The names of suites, and which one a misspelt name means.

use super::error::DebianError;
use super::system::Job;
use crate::catalogue::Catalogue;
use crate::fetched::KernelStore;
use crate::source::{DebianSource, KernelSource};

/// Suites of the Debian archive that are in no catalogue.
pub const OTHER_SUITES: &[&str] = &["stable", "testing", "unstable", "sid", "experimental", "forky"];

/// What follows the name of a release in the name of its backports.
const BACKPORTS: &str = "-backports";

impl Job<'_> {
    /// The error that the archive lacks a suite of this job's source, with the source that was probably meant.
    pub(super) fn no_such_suite(&self, suite: String) -> DebianError {
        let source: Option<DebianSource> = self.label.strip_prefix("debian:").and_then(|source| source.parse().ok());
        let meant = source.and_then(|source| {
            let suite = nearest(source.suite(), &self.known())?;
            let meant: DebianSource = format!("{suite}/{}", source.flavour()).parse().ok()?;
            Some(meant.to_string())
        });
        DebianError::NoSuchSuite { label: self.label.to_owned(), suite, meant }
    }

    /// The suites of the catalogue, of the cache, and others that exist.
    fn known(&self) -> Vec<String> {
        let catalogue = Catalogue::embedded().map_or_else(|_| Vec::new(), |catalogue| catalogue.kernels);
        let of_catalogue = catalogue.into_iter().filter_map(|known| match known.source {
            KernelSource::Debian(source) => Some(source.suite().to_owned()),
            _ => None,
        });
        // Without the cache there are fewer suggestions.
        let cached = KernelStore::new(self.cache).pinned().unwrap_or_default();
        let cached = cached.iter().filter_map(|stem| DebianSource::from_file_stem(stem));
        let others = OTHER_SUITES.iter().map(|&suite| suite.to_owned());
        of_catalogue.chain(cached.map(|source| source.suite().to_owned())).chain(others).collect()
    }
}

/// The known suite whose name differs least from `suite`, by at most a third of its letters.
fn nearest(suite: &str, known: &[String]) -> Option<String> {
    let (base, backports) = suite.strip_suffix(BACKPORTS).map_or((suite, ""), |base| (base, BACKPORTS));
    let whole = known.iter().map(|name| (name.clone(), edits(suite, name)));
    let of_base = known.iter().filter(|name| !backports.is_empty() && !name.ends_with(BACKPORTS));
    let of_base = of_base.map(|name| (format!("{name}{backports}"), edits(base, name)));
    let near = whole.chain(of_base).filter(|(name, edits)| name != suite && *edits * 3 <= base.len());
    near.min_by_key(|(_, edits)| *edits).map(|(name, _)| name)
}

/// The number of letters to insert, remove, replace or swap with their neighbour that makes one name the other.
fn edits(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_suite_means_the_most_similar_one() {
        let known: Vec<String> =
            ["bullseye", "bookworm", "trixie", "trixie-backports", "sid", "testing", "bookworm-rt"]
                .map(str::to_owned)
                .into();
        for (suite, meant) in [
            ("bookwrm", Some("bookworm")),
            ("bokworm", Some("bookworm")),
            ("bookwrom", Some("bookworm")),
            ("trixi", Some("trixie")),
            ("trxie-backports", Some("trixie-backports")),
            ("bookwrm-backports", Some("bookworm-backports")),
            ("trixie-backport", Some("trixie-backports")),
            ("sdi", Some("sid")),
            ("bullsye", Some("bullseye")),
            // A suite that existed once is no misspelling.
            ("buster", None),
            ("jessie", None),
            ("potato", None),
            ("x", None),
        ] {
            assert_eq!(nearest(suite, &known).as_deref(), meant, "{suite}");
        }
    }

    #[test]
    fn edits_are_counted_with_swaps() {
        for (one, other, count) in
            [("", "", 0), ("abc", "", 3), ("abc", "acb", 1), ("abc", "abd", 1), ("ab", "xaby", 2)]
        {
            assert_eq!((edits(one, other), edits(other, one)), (count, count), "{one} {other}");
        }
    }
}
