//! What the cache holds, and making room in it.
//!
//! Each kind of entries ([`EntryKind`]) lists its entries, with how they are removed. Which to remove is decided in
//! `plan`; `remove` does it.

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
    /// What was removed, in order, and why.
    pub removed: Vec<(Entry, Why)>,
    /// What was to be removed, and is in use.
    pub in_use: Vec<Entry>,
    /// What is there now.
    pub left: Vec<Entry>,
    /// What could not be read or removed; each names its path.
    pub errors: Vec<CacheError>,
}

impl Outcome {
    /// Removes an entry, and gives it back if it stays.
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

    /// What was freed, in bytes.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.removed.iter().map(|(entry, _)| entry.size_bytes).sum()
    }

    /// What is left, in bytes.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.left.iter().map(|entry| entry.size_bytes).sum()
    }
}

/// All entries of these kinds, by kind, the last used first.
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

/// Makes room. With `dry_run` nothing is removed, and the outcome says what would be.
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

/// What the user should know of the cache's limit, each in a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What was removed, and what could not be read or removed.
    pub notices: Vec<String>,
    /// More than the limit is left.
    pub over: Option<String>,
}

/// Keeps the cache within its limit, as far as that is possible without removing pinned kernels.
#[must_use]
pub fn keep_within(cache: &Path, kinds: &Kinds, limit: Limit) -> Room {
    let Some(limit_bytes) = limit.bytes() else { return Room::default() };
    let outcome = prune(cache, kinds, Goal { limit, used_before: None, pinned: false }, false);
    let mut notices = CacheError::by_reason(&outcome.errors);
    let made_room = outcome.removed.iter().filter(|(_, why)| *why == Why::Room).count();
    if made_room > 0 {
        let items = vmlab_events::text::count(made_room, "item");
        let freed = size::human(outcome.freed_bytes());
        notices.push(format!(
            "the cache had reached its limit of {limit}: {items} removed, least recently used first, {freed}"
        ));
    }
    let over = (outcome.left_bytes() > limit_bytes).then(|| {
        format!(
            "the cache holds {}, more than its limit of {limit}; what is left is in use or a pinned kernel: `vmlab \
             cache list` shows it, `vmlab cache prune --pinned` removes pinned kernels, {} sets the limit",
            size::human(outcome.left_bytes()),
            size::LIMIT_VARIABLE
        )
    });
    Room { notices, over }
}
