//! The fragments of kernel-configs/, compiled into vmlab.

use crate::fragment::{BadLine, Fragment};

/// The fragment that each kernel to order begins with: without it no kernel boots vmlab's guest.
pub const BASE: &str = "base";

/// Names and texts, sorted by name. A test compares the list with the folder.
const FRAGMENTS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/fragments.rs"));

/// The names of all fragments, and what each is for.
pub fn list() -> impl Iterator<Item = (&'static str, String)> {
    FRAGMENTS.iter().map(|(name, text)| (*name, purpose(text)))
}

/// The text of a fragment.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    FRAGMENTS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The fragment with this name, read.
///
/// # Errors
/// [`BadLine`], which is a bug in vmlab; a test rules this out.
pub fn find(name: &str) -> Option<Result<Fragment, BadLine>> {
    text(name).map(|text| Fragment::parse(&format!("{name}.config"), text))
}

/// The fragment with the most similar name.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let similarity = |known: &str| strsim::jaro_winkler(known, name);
    let best = FRAGMENTS.iter().map(|(known, _)| *known).max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    best.filter(|best| similarity(best) > 0.8)
}

/// The first sentence of the comment that a fragment begins with.
fn purpose(text: &str) -> String {
    let comment: Vec<_> = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    let comment = comment.join(" ");
    comment.split_inclusive(". ").next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fragment_can_be_read_and_says_what_it_is_for() {
        assert!(text(BASE).is_some());
        for (name, purpose) in list() {
            let fragment = find(name).unwrap_or_else(|| panic!("{name} is missing"));
            let fragment = fragment.unwrap_or_else(|error| panic!("{error}"));
            assert!(!fragment.requests.is_empty(), "{name} asks for nothing");
            assert!(purpose.len() > 10 && purpose.ends_with('.'), "{name}: {purpose}");
        }
    }
}
