//! The templates in the cache, for whoever lists it or makes room.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;

use super::{ABOUT, DRAFT, LOCK, root};
use crate::store::CacheError;
use crate::store::cache::disk;
use crate::store::cache::entry::{Entry, Found, Kind, Way};
use crate::store::json::{self, Json};

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
        found.take(if let Some(key) = name.strip_suffix(DRAFT) {
            leftover(path, "a template that is not whole", Some(lock_path(cache, key)))
        } else if let Some(key) = name.strip_suffix(LOCK) {
            let orphan = !has(key, "") && !has(key, DRAFT);
            if orphan { leftover(path, "the lock of a template that is gone", Some(path.clone())) } else { Ok(None) }
        } else {
            look(cache, name, path).map(Some)
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
///
/// # Errors
/// [`CacheError`]
pub(super) fn entry(cache: &Path, key: &str) -> Result<Option<Entry>, CacheError> {
    let dir = root(cache).join(key);
    if dir.exists() { look(cache, key, &dir).map(Some) } else { Ok(None) }
}

fn look(cache: &Path, key: &str, dir: &Path) -> Result<Entry, CacheError> {
    let path = dir.join(ABOUT);
    let (what, useless) = match json::read::<About>(&path)? {
        Json::Read(about) if about.key == key => (what(&about), None),
        Json::Read(_) => (key.to_owned(), Some(format!("{} is of another key", path.display()))),
        Json::Missing => (key.to_owned(), Some(format!("{} is missing", path.display()))),
        Json::Malformed(why) => (key.to_owned(), Some(why)),
    };
    let last_used = disk::modified(&path)?.or(disk::modified(dir)?);
    Ok(Entry {
        kind: Kind::Template,
        what,
        path: dir.to_owned(),
        size_bytes: disk::usage(dir)?,
        last_used: last_used.unwrap_or(SystemTime::UNIX_EPOCH),
        in_use: false,
        pinned_by: Vec::new(),
        useless,
        way: Way {
            lock: Some(lock_path(cache, key)),
            aside: Some(root(cache).join(format!("{key}{DRAFT}"))),
            ..Way::default()
        },
    })
}

fn leftover(path: &Path, what: &str, lock: Option<PathBuf>) -> Result<Option<Entry>, CacheError> {
    let Some(last_used) = disk::modified(path)? else { return Ok(None) };
    Ok(Some(Entry {
        kind: Kind::Leftover,
        what: what.to_owned(),
        path: path.to_owned(),
        size_bytes: disk::usage(path)?,
        last_used,
        in_use: false,
        pinned_by: Vec::new(),
        useless: Some("the vmlab that made it has ended".to_owned()),
        way: Way { lock, ..Way::default() },
    }))
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
