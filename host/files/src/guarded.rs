//! The files that are seen in their own places only, by their numbers. Bind mounts and hard links show a file in other places,
//! and a directory that ignores case shows it by other names.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::host;
use crate::nodes::Identity;
use crate::rules::matches_name;

/// The identities of the files as they are now, without those that cannot be reached.
pub(crate) fn identities(root: &OwnedFd, patterns: impl Iterator<Item = PathBuf>) -> HashMap<Identity, PathBuf> {
    let paths = patterns.flat_map(|pattern| matching(root, pattern));
    paths.filter_map(|path| Some((reach(root, &path)?.identity(), path))).collect()
}

fn reach(root: &OwnedFd, path: &Path) -> Option<host::Reached> {
    host::reach(root, path.strip_prefix("/").unwrap_or(path)).ok()
}

/// The paths that a pattern stands for. Only its last name has a `*`.
fn matching(root: &OwnedFd, pattern: PathBuf) -> Vec<PathBuf> {
    let (Some(parent), Some(name)) = (pattern.parent(), pattern.file_name()) else { return Vec::new() };
    if !name.as_bytes().contains(&b'*') {
        return vec![pattern];
    }
    let entries = reach(root, parent).and_then(|parent| parent.entries().ok()).unwrap_or_default();
    let found = entries.into_iter().filter(|entry| matches_name(name.as_bytes(), entry.name.as_bytes()));
    found.map(|entry| parent.join(entry.name)).collect()
}
