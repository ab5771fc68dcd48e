//! What the cache holds, and making room in it.
//!
//! Each kind of entry lists its own entries, with how they are taken away ([`Inventory`]); a program names the kinds that
//! it uses. What to take away is decided in [`plan`], and done in [`remove`].

use std::path::Path;
use std::time::SystemTime;

pub mod disk;
pub mod entry;
mod leftovers;
pub mod plan;
pub mod remove;
pub mod size;

pub use entry::{Entry, Found, Kind};
pub use plan::{Goal, Plan, Why};
pub use size::Limit;

use super::CacheError;
use remove::{Removal, is_in_use};

/// What came of making room.
#[derive(Debug)]
pub struct Outcome {
    /// What went, in order, and why.
    pub removed: Vec<(Entry, Why)>,
    /// What was to go, and is in use.
    pub in_use: Vec<Entry>,
    /// What is there now.
    pub left: Vec<Entry>,
    /// What could not be read or removed; each names its path.
    pub errors: Vec<CacheError>,
}

impl Outcome {
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

/// Lists the entries of one kind in a cache directory.
pub type Inventory = fn(&Path) -> Found;

/// All that the cache holds, by kind, the last used first.
#[must_use]
pub fn scan(cache: &Path, kinds: &[Inventory]) -> Found {
    let mut found = leftovers::inventory(cache, SystemTime::now());
    found.extend(kinds.iter().map(|inventory| inventory(cache)));
    for entry in &mut found.entries {
        match is_in_use(entry) {
            Ok(in_use) => entry.in_use |= in_use,
            // Taking it away fails for the same reason.
            Err(error) => drop(entry.unreadable.get_or_insert(error.cause())),
        }
    }
    found.entries.sort_by(|a, b| (a.kind, b.last_used, &a.path).cmp(&(b.kind, a.last_used, &b.path)));
    found
}

/// Makes room. With `dry_run` nothing is removed, and the outcome tells what would be.
#[must_use]
pub fn prune(cache: &Path, kinds: &[Inventory], goal: Goal, dry_run: bool) -> Outcome {
    let Found { entries, mut errors } = scan(cache, kinds);
    let (mut removed, mut in_use) = (Vec::new(), Vec::new());
    let mut plan = Plan::new(entries, goal);
    while let Some((entry, why)) = plan.take_next() {
        match if dry_run { Ok(Removal::Gone) } else { remove::remove(cache, &entry) } {
            Ok(Removal::Gone) => removed.push((entry, why)),
            Ok(Removal::InUse) => {
                in_use.push(entry.clone());
                plan.stays(entry);
            }
            Err(error) => {
                errors.push(error);
                plan.stays(entry);
            }
        }
    }
    Outcome { removed, in_use, left: plan.left().cloned().collect(), errors }
}

/// Removes everything of these kinds that nobody uses.
#[must_use]
pub fn clear(cache: &Path, inventories: &[Inventory], kinds: &[Kind]) -> Outcome {
    let Found { entries, errors } = scan(cache, inventories);
    let mut outcome = Outcome { removed: Vec::new(), in_use: Vec::new(), left: Vec::new(), errors };
    for entry in entries {
        if !kinds.contains(&entry.kind) {
            outcome.left.push(entry);
            continue;
        }
        match if entry.in_use { Ok(Removal::InUse) } else { remove::remove(cache, &entry) } {
            Ok(Removal::Gone) => outcome.removed.push((entry, Why::Asked)),
            Ok(Removal::InUse) => {
                outcome.in_use.push(entry.clone());
                outcome.left.push(entry);
            }
            Err(error) => {
                outcome.errors.push(error);
                outcome.left.push(entry);
            }
        }
    }
    outcome
}

/// What the user should know of the cache's limit, each in a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What went, and what could not be read or removed.
    pub notices: Vec<String>,
    /// More than the limit is left.
    pub over: Option<String>,
}

/// Keeps the cache within its limit, as far as that can be done without pinned kernels.
#[must_use]
pub fn keep_within(cache: &Path, kinds: &[Inventory], limit: Limit) -> Room {
    let Some(limit_bytes) = limit.bytes() else { return Room::default() };
    let outcome = prune(cache, kinds, Goal { limit, used_before: None, pinned: false }, false);
    let mut notices = CacheError::by_reason(&outcome.errors);
    let made_room = outcome.removed.iter().filter(|(_, why)| *why == Why::Room).count();
    if made_room > 0 {
        let items = vmlab_events::text::count(made_room, "item");
        let freed = size::human(outcome.freed_bytes());
        notices.push(format!(
            "the cache had reached its limit of {limit}: {items} went, least recently used first, {freed}"
        ));
    }
    let over = (outcome.left_bytes() > limit_bytes).then(|| {
        format!(
            "the cache holds {}, more than its limit of {limit}; what is left is in use or a pinned kernel: `vmlab \
             cache list` shows it, `vmlab cache prune --pinned` takes pinned kernels away, {} sets the limit",
            size::human(outcome.left_bytes()),
            size::LIMIT_VARIABLE
        )
    });
    Room { notices, over }
}
