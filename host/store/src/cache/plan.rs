//! Which entry is to go next. Pure.
//!
//! First goes what nobody can use any more, then what is older than asked for, then, until the limit is met, one kind
//! after the other in the order of [`Kind`], least recently used first. A pinned kernel is what makes a source mean the
//! same kernel tomorrow: it goes only where that was asked for, and last of all. Memos never go to make room: all of them
//! are some KiB, and each saves more time than anything of its size.

use std::time::SystemTime;

use super::entry::{Entry, Kind};
use super::size::Limit;

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// How much may stay.
    pub limit: Limit,
    /// What was last used before this goes.
    pub used_before: Option<SystemTime>,
    /// Whether pinned kernels may go.
    pub pinned: bool,
}

/// Why an entry goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nobody can use it any more, for this reason.
    Useless(String),
    /// It was not used for too long.
    Old,
    /// To make room.
    Room,
    /// The user said so.
    Asked,
}

/// Entries of which some are to go.
#[derive(Debug)]
pub struct Plan {
    goal: Goal,
    may_go: Vec<Entry>,
    stays: Vec<Entry>,
}

impl Plan {
    /// For what the cache holds.
    #[must_use]
    pub fn new(entries: Vec<Entry>, goal: Goal) -> Self {
        let (may_go, stays) =
            entries.into_iter().partition(|entry| !entry.in_use && (goal.pinned || entry.pinned_by.is_empty()));
        Self { goal, may_go, stays }
    }

    /// The next entry that is to go. It counts as gone unless it is handed to [`Self::stays`].
    pub fn take_next(&mut self) -> Option<(Entry, Why)> {
        let (at, why) = self.useless().or_else(|| self.old()).or_else(|| self.too_much())?;
        Some((self.may_go.swap_remove(at), why))
    }

    /// Takes back an entry that could not be taken away.
    pub fn stays(&mut self, entry: Entry) {
        self.stays.push(entry);
    }

    /// What is there, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.left().map(|entry| entry.size_bytes).sum()
    }

    /// What is there.
    pub fn left(&self) -> impl Iterator<Item = &Entry> {
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
        let rank = |entry: &Entry| (entry.kind, !entry.pinned_by.is_empty(), entry.last_used);
        let of_size = self.may_go.iter().enumerate().filter(|(_, entry)| entry.kind != Kind::Memo);
        of_size.min_by_key(|(_, entry)| rank(entry)).map(|(at, _)| (at, Why::Room))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::cache::entry::Way;

    /// `used` is in days since 1970.
    fn entry(name: &str, kind: Kind, size_bytes: u64, used: u64) -> Entry {
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
            way: Way::default(),
        }
    }

    fn day(day: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(day * 24 * 3600)
    }

    /// One of everything, 10 bytes each but the memo, which has 1.
    fn entries() -> Vec<Entry> {
        vec![
            entry("memo", Kind::Memo, 1, 1),
            Entry { pinned_by: vec!["debian:sid".into()], ..entry("pinned kernel", Kind::Kernel, 10, 2) },
            entry("kernel", Kind::Kernel, 10, 9),
            entry("image", Kind::Image, 10, 4),
            entry("unpacked", Kind::Unpacked, 10, 9),
            entry("new template", Kind::Template, 10, 9),
            entry("old template", Kind::Template, 10, 8),
            Entry { in_use: true, ..entry("used template", Kind::Template, 10, 0) },
            Entry { useless: Some("cut".into()), ..entry("leftover", Kind::Leftover, 10, 9) },
        ]
    }

    fn goal(limit: u64) -> Goal {
        Goal { limit: Limit::Bytes(limit), used_before: None, pinned: false }
    }

    fn all(plan: &mut Plan) -> Vec<String> {
        std::iter::from_fn(|| plan.take_next()).map(|(entry, _)| entry.what).collect()
    }

    #[test]
    fn room_is_made_in_the_order_of_what_is_had_again_soonest() {
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
        assert_eq!(plan.bytes(), 11, "what is in use stays, and the memo");
    }

    #[test]
    fn age_counts_for_every_kind_but_not_for_what_is_pinned() {
        let goal = Goal { limit: Limit::None, used_before: Some(day(5)), pinned: false };
        assert_eq!(all(&mut Plan::new(entries(), goal)), ["leftover", "memo", "image"]);
        let mut pinned = all(&mut Plan::new(entries(), Goal { pinned: true, ..goal }));
        pinned.sort();
        assert_eq!(pinned, ["image", "leftover", "memo", "pinned kernel"]);
    }

    #[test]
    fn what_cannot_be_taken_away_counts_and_another_goes_instead() {
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
