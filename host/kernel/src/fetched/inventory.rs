//! What the store holds, for whoever lists it or makes room.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FORMAT, KernelStore, Pin, RECORD, Record};
use crate::source::DebianSource;
use vmlab_store::cache::disk;
use vmlab_store::cache::entry::{Entry, Found, Kind, References, Way};
use vmlab_store::json::{self, Json};
use vmlab_store::{CacheError, atomic, plain};

/// A source's name for files, and its entry's name or how the pin is damaged.
type Pinned = (String, Result<String, String>);

/// The pins of an entry, or one that is damaged.
#[derive(Debug, Clone)]
pub struct Pins {
    store: KernelStore,
    /// None of one that is damaged.
    entry: Option<String>,
    stems: Vec<String>,
}

impl References for Pins {
    /// `false` also where the damaged one was mended.
    fn remove(&self) -> Result<bool, CacheError> {
        let is_meant = |(stem, entry): &Pinned| match &self.entry {
            Some(name) => entry.as_ref() == Ok(name),
            None => entry.is_err() && self.stems.contains(stem),
        };
        let now: Vec<_> = self.store.pins()?.into_iter().filter(is_meant).map(|(stem, _)| stem).collect();
        if now != self.stems {
            return Ok(false);
        }
        for path in self.stems.iter().map(|stem| self.store.pin_path(stem)) {
            atomic::remove_tree(&path).map_err(CacheError::on("remove", &path))?;
        }
        Ok(true)
    }
}

impl KernelStore {
    /// All kernels that were fetched, and what fetches left behind.
    #[must_use]
    pub fn inventory(&self) -> Found {
        let mut found = Found::default();
        match self.pins() {
            Ok(pins) => match disk::list(&self.entries()) {
                Ok(entries) => {
                    for (name, dir) in entries {
                        let of_it = pins.iter().filter(|(_, entry)| entry.as_ref() == Ok(&name));
                        let stems: Vec<_> = of_it.map(|(stem, _)| stem.clone()).collect();
                        found.entries.push(self.look(&name, dir, &stems));
                    }
                    let damaged = pins.iter().filter_map(|(stem, entry)| Some((stem, entry.as_ref().err()?)));
                    found.entries.extend(damaged.map(|(stem, why)| self.damaged_pin(stem, why)));
                }
                Err(error) => found.errors.push(error),
            },
            // Without the pins nobody can tell which kernels may go.
            Err(error) => found.errors.push(error),
        }
        match disk::list(&self.root.join("staging")) {
            Ok(staging) => found.entries.extend(staging.into_iter().map(|(name, dir)| self.leftover(&name, dir))),
            Err(error) => found.errors.push(error),
        }
        found
    }

    /// The stem and the entry's name of each pin, or how the pin is damaged. One of another vmlab is left out.
    fn pins(&self) -> Result<Vec<Pinned>, CacheError> {
        let mut pins = Vec::new();
        for stem in self.pinned()? {
            match json::read(&self.pin_path(&stem))? {
                Json::Read(Pin { format: FORMAT, entry, .. }) => pins.push((stem, Ok(entry))),
                // It pins nothing: its source is fetched again.
                Json::Malformed(why) => pins.push((stem, Err(why))),
                Json::Read(_) | Json::Missing => {}
            }
        }
        Ok(pins)
    }

    fn damaged_pin(&self, stem: &str, why: &str) -> Entry {
        let pins = Pins { store: self.clone(), entry: None, stems: vec![stem.to_owned()] };
        Entry {
            useless: Some(why.to_owned()),
            way: Way { references: Some(Arc::new(pins)), ..Way::default() },
            ..Entry::at(Kind::Leftover, format!("what {} was pinned to", label(stem)), self.pin_path(stem))
        }
    }

    fn look(&self, name: &str, dir: PathBuf, stems: &[String]) -> Entry {
        let about = dir.join(RECORD);
        let (mut damage, mut unreadable) = (plain::no_directory(&dir), None);
        let mut what = name.to_owned();
        if damage.is_none() {
            match json::read::<Record>(&about) {
                Ok(Json::Read(Record { format: FORMAT, release, version, .. })) => {
                    what = format!("{release} ({version})");
                }
                Ok(Json::Read(_)) => damage = Some(format!("{} is of another vmlab", about.display())),
                Ok(Json::Missing) => damage = Some(format!("{} is missing", about.display())),
                Ok(Json::Malformed(why)) => damage = Some(why),
                Err(error) => unreadable = Some(error.cause()),
            }
        }
        let entry = Entry::at(Kind::Kernel, what, dir).used_as(&about);
        Entry {
            unreadable: unreadable.or_else(|| entry.unreadable.clone()),
            // Where it is pinned, the next run mends it, and says so.
            useless: damage.filter(|_| stems.is_empty()),
            way: Way {
                lock: Some(self.lock_path(name)),
                references: Some(Arc::new(Pins {
                    store: self.clone(),
                    entry: Some(name.to_owned()),
                    stems: stems.to_vec(),
                })),
                aside: Some(self.root.join("staging").join(name)),
                after: Vec::new(),
            },
            pinned_by: stems.iter().map(|stem| label(stem)).collect(),
            ..entry
        }
    }

    fn leftover(&self, name: &str, dir: PathBuf) -> Entry {
        let what = format!("files and package lists of a fetch: {}", label(name));
        Entry {
            useless: Some("the vmlab that made it has ended".to_owned()),
            way: Way { lock: Some(self.lock_path(name)), ..Way::default() },
            ..Entry::at(Kind::Leftover, what, dir)
        }
    }
}

/// All kernels that were fetched into a cache, and what fetches left behind.
#[must_use]
pub fn inventory(cache: &Path) -> Found {
    KernelStore::new(cache).inventory()
}

/// What a source's name for files stands for; the name itself where it is none.
fn label(stem: &str) -> String {
    DebianSource::from_file_stem(stem).map_or_else(|| stem.to_owned(), |source| source.to_string())
}
