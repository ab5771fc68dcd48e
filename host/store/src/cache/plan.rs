//! Decides which entry is removed next. Pure.
//!
//! Useless entries are removed first, then entries that were not used for too long, then, until the limit is met,
//! entries in the order of [`EntryKind::rank`], least recently used first. Pinned kernels are removed last and only on
//! request: a pin makes a source mean the same kernel tomorrow.
//!
//! [`EntryKind::rank`]: super::EntryKind::rank

use std::time::SystemTime;

use super::entry::Entry;
use super::size::Limit;

/// The aim of making room.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// The limit for the remaining entries.
    pub limit: Limit,
    /// Entries that were last used before this time are removed.
    pub used_before: Option<SystemTime>,
    /// Whether pinned kernels may be removed.
    pub pinned: bool,
}

/// The reason for removing an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The entry cannot be used any more; the text says why.
    Useless(String),
    /// The entry was not used for too long.
    Old,
    /// To make room.
    Room,
    /// The user asked for it.
    Asked,
}

/// The entries, divided into removable ones and ones that stay.
#[derive(Debug)]
pub(super) struct Plan {
    goal: Goal,
    may_go: Vec<Entry>,
    stays: Vec<Entry>,
}

impl Plan {
    pub(super) fn new(entries: Vec<Entry>, goal: Goal) -> Self {
        let (may_go, stays) =
            entries.into_iter().partition(|entry| !entry.in_use && (goal.pinned || entry.pinned_by.is_empty()));
        Self { goal, may_go, stays }
    }

    /// The next entry to remove. It counts as removed unless it is passed to [`Self::stays`].
    pub(super) fn take_next(&mut self) -> Option<(Entry, Why)> {
        let (at, why) = self.useless().or_else(|| self.old()).or_else(|| self.too_much())?;
        Some((self.may_go.swap_remove(at), why))
    }

    /// Takes back an entry that could not be removed.
    pub(super) fn stays(&mut self, entry: Entry) {
        self.stays.push(entry);
    }

    fn bytes(&self) -> u64 {
        self.left().map(|entry| entry.size_bytes).sum()
    }

    /// The entries that were not removed.
    pub(super) fn left(&self) -> impl Iterator<Item = &Entry> {
        self.may_go.iter().chain(&self.stays)
    }

    fn useless(&self) -> Option<(usize, Why)> {
        let reason = |(at, entry): (usize, &Entry)| entry.useless.clone().map(|why| (at, Why::Useless(why)));
        self.may_go.iter().enumerate().find_map(reason)
    }

    fn old(&self) -> Option<(usize, Why)> {
        let limit = self.goal.used_before?;
        self.may_go.iter().position(|entry| entry.last_used < limit).map(|at| (at, Why::Old))
    }

    fn too_much(&self) -> Option<(usize, Why)> {
        if self.goal.limit.bytes().is_none_or(|limit| self.bytes() <= limit) {
            return None;
        }
        let ranked = |(at, entry): (usize, &Entry)| {
            entry.kind.rank.map(|rank| ((rank, !entry.pinned_by.is_empty(), entry.last_used), at))
        };
        self.may_go.iter().enumerate().filter_map(ranked).min().map(|(_, at)| (at, Why::Room))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::cache::entry::{Disposal, EntryKind, Listing};

    const fn kind(name: &'static str, rank: Option<u8>) -> EntryKind {
        EntryKind { name, plural: name, help: name, rank, list: |_| Listing::default() }
    }

    static LEFTOVER: EntryKind = kind("leftover", Some(0));
    static TEMPLATE: EntryKind = kind("template", Some(1));
    static UNPACKED: EntryKind = kind("unpacked", Some(2));
    static IMAGE: EntryKind = kind("image", Some(3));
    static KERNEL: EntryKind = kind("kernel", Some(4));
    static FACT: EntryKind = kind("fact", None);

    /// `used` is in days since 1970.
    fn entry(name: &str, kind: &'static EntryKind, size_bytes: u64, used: u64) -> Entry {
        Entry {
            kind,
            what: name.to_owned(),
            path: PathBuf::from(name),
            size_bytes,
            last_used: day(used),
            in_use: false,
            pinned_by: Vec::new(),
            useless: None,
            unreadable: None,
            disposal: Disposal::default(),
        }
    }

    fn day(day: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(day * 24 * 3600)
    }

    /// One entry of each kind, with 10 bytes each, but 1 byte for the fact.
    fn entries() -> Vec<Entry> {
        vec![
            entry("fact", &FACT, 1, 1),
            Entry { pinned_by: vec!["debian:sid".into()], ..entry("pinned kernel", &KERNEL, 10, 2) },
            entry("kernel", &KERNEL, 10, 9),
            entry("image", &IMAGE, 10, 4),
            entry("unpacked", &UNPACKED, 10, 9),
            entry("new template", &TEMPLATE, 10, 9),
            entry("old template", &TEMPLATE, 10, 8),
            Entry { in_use: true, ..entry("used template", &TEMPLATE, 10, 0) },
            Entry { useless: Some("cut".into()), ..entry("leftover", &LEFTOVER, 10, 9) },
        ]
    }

    fn goal(limit: u64) -> Goal {
        Goal { limit: Limit::Bytes(limit), used_before: None, pinned: false }
    }

    fn all(plan: &mut Plan) -> Vec<String> {
        std::iter::from_fn(|| plan.take_next()).map(|(entry, _)| entry.what).collect()
    }

    #[test]
    fn room_is_made_by_rank_and_then_by_last_use() {
        let order = ["leftover", "old template", "new template", "unpacked", "image", "kernel"];
        for (limit, count) in
            [(1000, 1), (71, 1), (70, 2), (61, 2), (60, 3), (50, 4), (40, 5), (30, 6), (20, 6), (0, 6)]
        {
            let mut plan = Plan::new(entries(), goal(limit));
            assert_eq!(all(&mut plan), order[..count], "{limit}");
        }
        let mut plan = Plan::new(entries(), Goal { pinned: true, ..goal(0) });
        let order = ["leftover", "old template", "new template", "unpacked", "image", "kernel", "pinned kernel"];
        assert_eq!(all(&mut plan), order);
        assert_eq!(plan.bytes(), 11, "what is in use stays, and the fact");
    }

    #[test]
    fn old_entries_of_every_kind_are_removed_except_pinned_kernels() {
        let goal = Goal { limit: Limit::None, used_before: Some(day(5)), pinned: false };
        assert_eq!(all(&mut Plan::new(entries(), goal)), ["leftover", "fact", "image"]);
        let mut pinned = all(&mut Plan::new(entries(), Goal { pinned: true, ..goal }));
        pinned.sort();
        assert_eq!(pinned, ["fact", "image", "leftover", "pinned kernel"]);
    }

    #[test]
    fn an_entry_that_cannot_be_removed_is_replaced_by_the_next_one() {
        let mut plan = Plan::new(entries(), goal(51));
        let mut gone = Vec::new();
        while let Some((entry, why)) = plan.take_next() {
            if entry.what == "old template" {
                assert_eq!(why, Why::Room);
                plan.stays(entry);
            } else {
                gone.push(entry.what);
            }
        }
        assert_eq!(gone, ["leftover", "new template", "unpacked"]);
        assert_eq!(plan.bytes(), 51);
        assert_eq!(plan.left().count(), 6);
    }
}
