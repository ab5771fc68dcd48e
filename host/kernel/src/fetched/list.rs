//! Lists the fetched kernels as entries of the cache.

use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use super::{KernelStore, RECORD, Record, read_record};
use crate::source::DebianSource;
use vmlab_store::cache::leftovers::{self, LEFTOVER};
use vmlab_store::cache::{Disposal, Entry, EntryKind, Listing, disk};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::{CacheError, atomic, regular};

/// Kernels are removed last: fetching one again needs the network, and an archive that still has this version.
pub static KERNELS: EntryKind =
    EntryKind { name: "kernel", plural: "kernels", help: "Fetched kernels", rank: Some(4), list };

/// The stem of a source, and the name of its entry or the damage of its pin.
type Pinned = (String, Result<String, String>);

fn list(cache: &Path) -> Listing {
    let store = KernelStore::new(cache);
    let mut listing = leftovers::half_written(&store.refs());
    // Without the pins vmlab cannot tell which kernels may be removed.
    match store.pins().and_then(|pins| Ok((pins, disk::list(&store.entries())?))) {
        Ok((pins, entries)) => {
            listing.entries.extend(entries.into_iter().map(|(name, dir)| store.look(&name, dir, &pins)));
            let damaged = pins.iter().filter_map(|(stem, entry)| Some((stem, entry.as_ref().err()?)));
            listing.entries.extend(damaged.map(|(stem, why)| store.damaged_pin(stem, why)));
        }
        Err(error) => listing.errors.push(error),
    }
    match disk::list(&store.root.join("staging")) {
        Ok(staging) => listing.entries.extend(staging.into_iter().map(|(name, dir)| store.leftover(&name, dir))),
        Err(error) => listing.errors.push(error),
    }
    listing
}

impl KernelStore {
    /// All pins except undamaged pins of other versions of vmlab.
    fn pins(&self) -> Result<Vec<Pinned>, CacheError> {
        let mut pins = Vec::new();
        for stem in self.pinned()? {
            match self.read_pin(&stem)? {
                Stored::Sound(pin) => pins.push((stem, Ok(pin.entry))),
                Stored::Damaged(_) if is_whole(&self.pin_path(&stem))? => {}
                // A damaged pin pins no kernel: its source is fetched again.
                Stored::Damaged(why) => pins.push((stem, Err(why))),
                Stored::Missing => {}
            }
        }
        Ok(pins)
    }

    fn damaged_pin(&self, stem: &str, why: &str) -> Entry {
        Entry {
            useless: Some(why.to_owned()),
            disposal: Disposal { unlink: Some(is_still_damaged), ..Disposal::default() },
            ..Entry::at(&LEFTOVER, format!("the pin of {}", label(stem)), self.pin_path(stem))
        }
    }

    fn look(&self, name: &str, dir: PathBuf, pins: &[Pinned]) -> Entry {
        let about = dir.join(RECORD);
        let (mut damage, mut unreadable) = (regular::no_directory(&dir), None);
        let mut what = name.to_owned();
        if damage.is_none() {
            match read_record(&dir) {
                Ok(Stored::Sound(Record { release, version, .. })) => what = format!("{release} ({version})"),
                Ok(Stored::Missing) => damage = Some(format!("{} is missing", about.display())),
                Ok(Stored::Damaged(why)) => damage = Some(why),
                Err(error) => unreadable = Some(error.cause()),
            }
        }
        let pinned_by: Vec<_> = stems(pins, name).map(label).collect();
        let entry = Entry::at(&KERNELS, what, dir).used_as(&about);
        Entry {
            unreadable: unreadable.or_else(|| entry.unreadable.clone()),
            // The next run repairs a pinned kernel, and reports it.
            useless: damage.filter(|_| pinned_by.is_empty()),
            disposal: Disposal {
                lock: Some(self.lock_path(name)),
                unlink: Some(unpin),
                aside: Some(self.root.join("staging").join(name)),
                after: Vec::new(),
            },
            pinned_by,
            ..entry
        }
    }

    fn leftover(&self, name: &str, dir: PathBuf) -> Entry {
        let what = format!("files and package lists of a fetch: {}", label(name));
        Entry {
            useless: Some("the process that made it has ended".to_owned()),
            disposal: Disposal { lock: Some(self.lock_path(name)), ..Disposal::default() },
            ..Entry::at(&LEFTOVER, what, dir)
        }
    }
}

fn is_whole(path: &Path) -> Result<bool, CacheError> {
    Ok(matches!(checksummed::read::<IgnoredAny>(path)?, Stored::Sound(_)))
}

/// Removes the pins of a kernel. Returns false if the pins have changed since the kernel was listed.
fn unpin(cache: &Path, entry: &Entry) -> Result<bool, CacheError> {
    let store = KernelStore::new(cache);
    let pins = store.pins()?;
    let name = entry.path.file_name().unwrap_or_default().to_string_lossy();
    if stems(&pins, &name).map(label).ne(entry.pinned_by.iter().cloned()) {
        return Ok(false);
    }
    for path in stems(&pins, &name).map(|stem| store.pin_path(stem)) {
        atomic::remove_tree(&path).map_err(CacheError::on("remove", &path))?;
    }
    Ok(true)
}

/// Whether a pin that was listed as damaged is still damaged.
fn is_still_damaged(cache: &Path, entry: &Entry) -> Result<bool, CacheError> {
    let store = KernelStore::new(cache);
    let pins = store.pins()?;
    Ok(pins.iter().any(|(stem, pinned)| pinned.is_err() && store.pin_path(stem) == entry.path))
}

/// The stems of the sources that are pinned to an entry.
fn stems<'a>(pins: &'a [Pinned], name: &str) -> impl Iterator<Item = &'a str> {
    pins.iter().filter(move |(_, entry)| entry.as_deref() == Ok(name)).map(|(stem, _)| stem.as_str())
}

/// The label of the source with this stem; the stem itself if there is no such source.
fn label(stem: &str) -> String {
    DebianSource::from_file_stem(stem).map_or_else(|| stem.to_owned(), |source| source.to_string())
}
