//! The templates in the cache, for whoever lists it or makes room.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{ABOUT, DRAFT, LOCK, root};
use vmlab_store::cache::disk;
use vmlab_store::cache::entry::{Entry, Found, Kind, Way};
use vmlab_store::json::Json;
use vmlab_store::{plain, sealed};

/// What is shown of `template.json`.
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

/// All templates, and what those who made some left behind.
#[must_use]
pub fn inventory(cache: &Path) -> Found {
    let mut found = Found::default();
    let names = match disk::list(&root(cache)) {
        Ok(names) => names,
        Err(error) => {
            found.errors.push(error);
            return found;
        }
    };
    for (name, path) in &names {
        let has = |key: &str, suffix: &str| names.iter().any(|(name, _)| *name == format!("{key}{suffix}"));
        found.entries.extend(if let Some(key) = name.strip_suffix(DRAFT) {
            Some(leftover(path, "a template that is not whole", lock_path(cache, key)))
        } else if let Some(key) = name.strip_suffix(LOCK) {
            let orphan = !has(key, "") && !has(key, DRAFT);
            orphan.then(|| leftover(path, "the lock of a template that is gone", path.clone()))
        } else {
            Some(look(cache, name, path.clone()))
        });
    }
    found
}

/// The lock that whoever makes a template holds.
#[must_use]
pub fn lock_path(cache: &Path, key: &str) -> PathBuf {
    root(cache).join(format!("{key}{LOCK}"))
}

/// The template under a key, or what is left of one.
pub(super) fn entry(cache: &Path, key: &str) -> Option<Entry> {
    let path = root(cache).join(key);
    fs::symlink_metadata(&path).is_ok().then(|| look(cache, key, path))
}

fn look(cache: &Path, key: &str, dir: PathBuf) -> Entry {
    let about = dir.join(ABOUT);
    let (mut useless, mut unreadable) = (plain::no_directory(&dir), None);
    let mut title = key.to_owned();
    if useless.is_none() {
        match sealed::read::<About>(&about) {
            Ok(Json::Read(about)) if about.key == key => title = what(&about),
            Ok(Json::Read(_)) => useless = Some(format!("{} is of another key", about.display())),
            Ok(Json::Missing) => useless = Some(format!("{} is missing", about.display())),
            Ok(Json::Malformed(why)) => useless = Some(why),
            // Another user's may be as good as any.
            Err(error) => unreadable = Some(error.cause()),
        }
    }
    let entry = Entry::at(Kind::Template, title, dir).used_as(&about);
    let way = Way {
        lock: Some(lock_path(cache, key)),
        aside: Some(root(cache).join(format!("{key}{DRAFT}"))),
        ..Way::default()
    };
    Entry { useless, unreadable: unreadable.or_else(|| entry.unreadable.clone()), way, ..entry }
}

fn leftover(path: &Path, what: &str, lock: PathBuf) -> Entry {
    Entry {
        useless: Some("the vmlab that made it has ended".to_owned()),
        way: Way { lock: Some(lock), ..Way::default() },
        ..Entry::at(Kind::Leftover, what.to_owned(), path.to_owned())
    }
}

/// `6.12.117+deb13-cloud-amd64, 256M, 1 CPU, tcg`, the machine from QEMU's arguments.
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
