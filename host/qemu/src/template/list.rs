//! Lists the templates as entries of the cache.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{ABOUT, DRAFT, LOCK, root};
use vmlab_store::cache::leftovers::LEFTOVER;
use vmlab_store::cache::{Disposal, Entry, EntryKind, Listing, disk};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::regular;

/// A template can be made again by a boot.
pub static TEMPLATES: EntryKind =
    EntryKind { name: "template", plural: "templates", help: "Booted guests", rank: Some(1), list };

/// The parts of `template.json` that a listing shows.
#[derive(Debug, Deserialize)]
struct About {
    key: String,
    made_from: Value,
    hello: Hello,
}

#[derive(Debug, Deserialize)]
struct Hello {
    kernel_release: String,
}

fn list(cache: &Path) -> Listing {
    let mut listing = Listing::default();
    let names = match disk::list(&root(cache)) {
        Ok(names) => names,
        Err(error) => {
            listing.errors.push(error);
            return listing;
        }
    };
    for (name, path) in &names {
        let has = |key: &str, suffix: &str| names.iter().any(|(name, _)| *name == format!("{key}{suffix}"));
        listing.entries.extend(if let Some(key) = name.strip_suffix(DRAFT) {
            Some(leftover(path, "an incomplete template", lock_path(cache, key)))
        } else if let Some(key) = name.strip_suffix(LOCK) {
            let orphan = !has(key, "") && !has(key, DRAFT);
            orphan.then(|| leftover(path, "the lock of a removed template", path.clone()))
        } else {
            Some(look(cache, name, path.clone()))
        });
    }
    listing
}

/// Removes the drafts of processes that were killed while they made a template. Another process's draft stays, and so does
/// one that cannot be removed: `vmlab cache` lists it with the error.
pub fn remove_drafts(cache: &Path) {
    for (name, path) in disk::list(&root(cache)).unwrap_or_default() {
        if let Some(key) = name.strip_suffix(DRAFT) {
            let draft = leftover(&path, "an incomplete template", lock_path(cache, key));
            vmlab_store::cache::remove(cache, &draft).map_or_else(drop, drop);
        }
    }
}

/// The lock of the process that makes a template.
#[must_use]
pub fn lock_path(cache: &Path, key: &str) -> PathBuf {
    root(cache).join(format!("{key}{LOCK}"))
}

/// The entry of a template, which may be damaged.
pub(super) fn entry(cache: &Path, key: &str) -> Option<Entry> {
    let path = root(cache).join(key);
    fs::symlink_metadata(&path).is_ok().then(|| look(cache, key, path))
}

fn look(cache: &Path, key: &str, dir: PathBuf) -> Entry {
    let about = dir.join(ABOUT);
    let (mut useless, mut unreadable) = (regular::no_directory(&dir), None);
    let mut title = key.to_owned();
    if useless.is_none() {
        match checksummed::read::<About>(&about) {
            Ok(Stored::Sound(about)) if about.key == key => title = what(&about),
            Ok(Stored::Sound(_)) => useless = Some(format!("{} is of another key", about.display())),
            Ok(Stored::Missing) => useless = Some(format!("{} is missing", about.display())),
            Ok(Stored::Damaged(why)) => useless = Some(why),
            // The file may belong to another user and be intact.
            Err(error) => unreadable = Some(error.cause()),
        }
    }
    let entry = Entry::at(&TEMPLATES, title, dir).used_as(&about);
    let disposal = Disposal {
        lock: Some(lock_path(cache, key)),
        aside: Some(root(cache).join(format!("{key}{DRAFT}"))),
        ..Disposal::default()
    };
    Entry { useless, unreadable: unreadable.or_else(|| entry.unreadable.clone()), disposal, ..entry }
}

fn leftover(path: &Path, what: &str, lock: PathBuf) -> Entry {
    Entry {
        useless: Some("the process that made it has ended".to_owned()),
        disposal: Disposal { lock: Some(lock), ..Disposal::default() },
        ..Entry::at(&LEFTOVER, what.to_owned(), path.to_owned())
    }
}

/// Describes a template: `6.12.117+deb13-cloud-amd64, 256M, 1 CPU, tcg`. The machine comes from QEMU's arguments.
fn what(about: &About) -> String {
    let arguments = about.made_from.get("arguments").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let value_of = |option: &str| {
        let at = arguments.iter().position(|word| word.as_str() == Some(option))?;
        arguments.get(at + 1)?.as_str()
    };
    let cpus = value_of("-smp").map(|count| format!("{count} CPU{}", if count == "1" { "" } else { "s" }));
    let machine = [value_of("-m").map(str::to_owned), cpus, value_of("-accel").map(str::to_owned)];
    let mut words = vec![about.hello.kernel_release.clone()];
    words.extend(machine.into_iter().flatten());
    words.join(", ")
}
