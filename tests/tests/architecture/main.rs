//! The form of the source tree: which crate depends on which, which module of a crate uses which, which words are not used
//! any more, and whether what the documents name exists. These tests read files only.
#![expect(clippy::unwrap_used, reason = "a file that cannot be read or parsed ends the test")]

use std::fs;
use std::path::{Path, PathBuf};

mod crates;
mod documents;
mod glossary;
mod modules;
mod path;
mod source;

/// The workspace's directory.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The regular files below a directory, sorted. `is_wanted` is asked about files and directories, except for the first
/// directory.
fn files(dir: &Path, is_wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if !is_wanted(&path) {
                continue;
            }
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A manifest.
fn manifest(dir: &Path) -> toml::Table {
    fs::read_to_string(dir.join("Cargo.toml")).unwrap().parse().unwrap()
}
