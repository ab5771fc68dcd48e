//! What the store holds, for whoever lists it or makes room.

use std::path::Path;
use std::time::SystemTime;

use super::{FORMAT, KernelStore, Pin, RECORD, Record};
use crate::kernel::source::DebianSource;
use crate::store::CacheError;
use crate::store::cache::disk;
use crate::store::cache::entry::{Entry, Found, Kind, Way};
use crate::store::json::{self, Json};

/// The pins of an entry.
#[derive(Debug, Clone)]
pub struct Pins {
    store: KernelStore,
    entry: String,
    stems: Vec<String>,
}

impl Pins {
    /// Removes them; `false` where the entry has other pins by now than it had. The caller holds the lock on changes
    /// alone.
    pub(in crate::store) fn remove(&self) -> Result<bool, CacheError> {
        let now: Vec<_> = self.store.pins()?.into_iter().filter(|pin| pin.1 == self.entry).map(|pin| pin.0).collect();
        if now != self.stems {
            return Ok(false);
        }
        for path in self.stems.iter().map(|stem| self.store.pin_path(stem)) {
            std::fs::remove_file(&path).map_err(CacheError::on("remove", &path))?;
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
                        let pinned_by: Vec<_> =
                            pins.iter().filter(|pin| pin.1 == name).map(|pin| pin.0.clone()).collect();
                        found.take(self.look(&name, &dir, &pinned_by).map(Some));
                    }
                }
                Err(error) => found.errors.push(error),
            },
            // Without the pins nobody can tell which kernels may go.
            Err(error) => found.errors.push(error),
        }
        match disk::list(&self.root.join("staging")) {
            Ok(staging) => staging.iter().for_each(|(name, dir)| found.take(self.leftover(name, dir).map(Some))),
            Err(error) => found.errors.push(error),
        }
        found
    }

    /// The stem and the entry's name of each pin that can be read.
    fn pins(&self) -> Result<Vec<(String, String)>, CacheError> {
        let mut pins = Vec::new();
        for stem in self.pinned()? {
            // One that is damaged pins nothing: its source is fetched again.
            if let Json::Read(Pin { format: FORMAT, entry, .. }) = json::read(&self.pin_path(&stem))? {
                pins.push((stem, entry));
            }
        }
        Ok(pins)
    }

    fn look(&self, name: &str, dir: &Path, stems: &[String]) -> Result<Entry, CacheError> {
        let about = dir.join(RECORD);
        let (what, damage) = match json::read::<Record>(&about)? {
            Json::Read(Record { format: FORMAT, release, version, .. }) => (format!("{release} ({version})"), None),
            Json::Read(_) => (name.to_owned(), Some(format!("{} is of another vmlab", about.display()))),
            Json::Missing => (name.to_owned(), Some(format!("{} is missing", about.display()))),
            Json::Malformed(what) => (name.to_owned(), Some(what)),
        };
        let last_used = disk::modified(&about)?.or(disk::modified(dir)?);
        Ok(Entry {
            kind: Kind::Kernel,
            what,
            path: dir.to_owned(),
            size_bytes: disk::usage(dir)?,
            last_used: last_used.unwrap_or(SystemTime::UNIX_EPOCH),
            in_use: false,
            // Where it is pinned, the next run mends it, and says so.
            useless: damage.filter(|_| stems.is_empty()),
            way: Way {
                lock: Some(self.lock_path(name)),
                pins: Some(Pins { store: self.clone(), entry: name.to_owned(), stems: stems.to_vec() }),
                aside: Some(self.root.join("staging").join(name)),
                after: Vec::new(),
            },
            pinned_by: stems.iter().map(|stem| label(stem)).collect(),
        })
    }

    fn leftover(&self, name: &str, dir: &Path) -> Result<Entry, CacheError> {
        Ok(Entry {
            kind: Kind::Leftover,
            what: format!("files and package lists of a fetch: {}", label(name)),
            path: dir.to_owned(),
            size_bytes: disk::usage(dir)?,
            last_used: disk::modified(dir)?.unwrap_or(SystemTime::UNIX_EPOCH),
            in_use: false,
            pinned_by: Vec::new(),
            useless: Some("the vmlab that made it has ended".to_owned()),
            way: Way { lock: Some(self.lock_path(name)), ..Way::default() },
        })
    }
}

/// What a source's name for files stands for; the name itself where it is none.
fn label(stem: &str) -> String {
    DebianSource::from_file_stem(stem).map_or_else(|| stem.to_owned(), |source| source.to_string())
}
