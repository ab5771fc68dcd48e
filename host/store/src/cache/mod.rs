//! Lists the entries of the cache and removes entries to make room.
//!
//! Each kind of entries ([`EntryKind`]) lists its entries. `plan` decides which entries to remove, and `remove` removes
//! them.

use std::path::Path;

pub mod disk;
mod entry;
pub mod leftovers;
mod plan;
mod remove;
pub mod size;

pub use entry::{Disposal, Entry, EntryKind, Listing};
pub use plan::{Goal, Why};
pub use remove::{Removal, remove};
pub use size::Limit;

use crate::CacheError;
use plan::Plan;
use remove::is_in_use;

/// The kinds that a program uses.
pub type Kinds = [&'static EntryKind];

/// The result of making room.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The removed entries, in order, each with the reason.
    pub removed: Vec<(Entry, Why)>,
    /// The entries that could not be removed because they are in use.
    pub in_use: Vec<Entry>,
    /// The remaining entries.
    pub left: Vec<Entry>,
    /// The errors; each names its path.
    pub errors: Vec<CacheError>,
}

impl Outcome {
    /// Removes an entry; returns it if it stays.
    fn remove(&mut self, cache: &Path, entry: Entry, why: Why) -> Option<Entry> {
        match if entry.in_use { Ok(Removal::InUse) } else { remove(cache, &entry) } {
            Ok(Removal::Gone) => {
                self.removed.push((entry, why));
                return None;
            }
            Ok(Removal::InUse) => self.in_use.push(entry.clone()),
            Err(error) => self.errors.push(error),
        }
        Some(entry)
    }

    /// The freed disk space, in bytes.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.removed.iter().map(|(entry, _)| entry.size_bytes).sum()
    }

    /// The disk space of the remaining entries, in bytes.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.left.iter().map(|entry| entry.size_bytes).sum()
    }
}

/// All entries of these kinds, sorted by kind, most recently used first.
#[must_use]
pub fn scan(cache: &Path, kinds: &Kinds) -> Listing {
    let mut listing = Listing::default();
    listing.extend(kinds.iter().map(|kind| (kind.list)(cache)));
    for entry in &mut listing.entries {
        match is_in_use(entry) {
            Ok(in_use) => entry.in_use |= in_use,
            // Removing it fails for the same reason.
            Err(error) => drop(entry.unreadable.get_or_insert(error.cause())),
        }
    }
    let rank = |entry: &Entry| (entry.kind.rank.unwrap_or(u8::MAX), entry.kind.name);
    listing.entries.sort_by(|a, b| (rank(a), b.last_used, &a.path).cmp(&(rank(b), a.last_used, &b.path)));
    listing
}

/// Removes entries until `goal` is met. With `dry_run` it only lists the entries that it would remove.
#[must_use]
pub fn prune(cache: &Path, kinds: &Kinds, goal: Goal, dry_run: bool) -> Outcome {
    let Listing { entries, errors } = scan(cache, kinds);
    let mut outcome = Outcome { errors, ..Outcome::default() };
    let mut plan = Plan::new(entries, goal);
    while let Some((entry, why)) = plan.take_next() {
        if dry_run {
            outcome.removed.push((entry, why));
        } else if let Some(entry) = outcome.remove(cache, entry, why) {
            plan.stays(entry);
        }
    }
    outcome.left = plan.left().cloned().collect();
    outcome
}

/// Removes all entries of the kinds in `which` that no process uses; `all` are the kinds that the program uses.
#[must_use]
pub fn clear(cache: &Path, all: &Kinds, which: &Kinds) -> Outcome {
    // Each kind lists leftovers of its own.
    let Listing { entries, errors } = scan(cache, all);
    let mut outcome = Outcome { errors, ..Outcome::default() };
    for entry in entries {
        let left = if which.contains(&entry.kind) { outcome.remove(cache, entry, Why::Asked) } else { Some(entry) };
        outcome.left.extend(left);
    }
    outcome
}

/// Notices about the cache's limit, one line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Notices about removed entries and about errors.
    pub notices: Vec<String>,
    /// The notice that the cache is still over its limit.
    pub over: Option<String>,
}

/// Removes what no process can use, such as the drafts of killed processes, and then entries, but no pinned kernels, until
/// the cache is within its limit.
#[must_use]
pub fn keep_within(cache: &Path, kinds: &Kinds, limit: Limit) -> Room {
    let outcome = prune(cache, kinds, Goal { limit, used_before: None, pinned: false }, false);
    let mut notices = CacheError::by_reason(&outcome.errors);
    let made_room = outcome.removed.iter().filter(|(_, why)| *why == Why::Room).count();
    if made_room > 0 {
        let items = vmlab_events::text::count(made_room, "item");
        let freed = size::human(outcome.freed_bytes());
        notices.push(format!(
            "the cache exceeded its limit of {limit}: removed the least recently used {items} ({freed})"
        ));
    }
    let is_over = limit.bytes().is_some_and(|limit_bytes| outcome.left_bytes() > limit_bytes);
    let over = is_over.then(|| {
        format!(
            "the cache exceeds its limit of {limit}: {} are in use or pinned kernels; raise {}, or run `vmlab cache prune \
             --pinned`",
            size::human(outcome.left_bytes()),
            size::LIMIT_VARIABLE
        )
    });
    Room { notices, over }
}
