//! What `vmlab cache` prints.

use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::output;
use vmlab_events::{clean, text};
use vmlab_kernel::fetched::KERNELS;
use vmlab_store::cache::size::human;
use vmlab_store::cache::{Entry, Goal, Limit, Outcome, Why};
use vmlab_store::stat_cache::FACT;

/// A line for each entry, one line for all facts, which are many and small, and the total.
pub(super) fn table(dir: &Path, entries: &[Entry], limit: Limit) -> String {
    let total: u64 = entries.iter().map(|entry| entry.size_bytes).sum();
    let dir = clean::line(&dir.display().to_string());
    let sum = format!("{} in {dir}; limit: {limit} (VMLAB_CACHE_LIMIT)\n", human(total));
    if entries.is_empty() {
        return format!("The cache is empty.\n{sum}");
    }
    let (facts, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| *entry.kind == FACT);
    let mut rows = vec![["KIND", "SIZE", "LAST USED (UTC)", "WHAT", "STATE"].map(str::to_owned)];
    rows.extend(others.into_iter().map(row));
    if let Some(last_used) = facts.iter().map(|entry| entry.last_used).max() {
        let bytes = facts.iter().map(|entry| entry.size_bytes).sum();
        rows.push([FACT.name.to_owned(), human(bytes), time(last_used), count_of_facts(facts.len()), String::new()]);
    }
    format!("{}\n{sum}`vmlab cache --help` explains the kinds and what is removed first\n", output::columns(&rows))
}

fn count_of_facts(count: usize) -> String {
    format!("{} about files, QEMU and KVM", text::count(count, "fact"))
}

fn row(entry: &Entry) -> [String; 5] {
    let mut states = Vec::new();
    if entry.in_use {
        states.push("in use".to_owned());
    } else if let Some(why) = &entry.useless {
        states.push(format!("useless: {}", clean::line(why)));
    }
    states.extend(entry.unreadable.as_ref().map(|why| format!("unreadable: {}", clean::line(why))));
    match &entry.pinned_by[..] {
        [] if *entry.kind == KERNELS => states.push("not pinned".to_owned()),
        [] => {}
        sources => states.push(format!("pinned as {}", clean::line(&sources.join(", ")))),
    }
    let what = clean::line(&entry.what);
    [entry.kind.name.to_owned(), human(entry.size_bytes), time(entry.last_used), what, states.join("; ")]
}

fn time(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%d %H:%M").to_string()
}

/// A line for each entry that was removed, and the sum. `verb` is `removed` or `would remove`.
pub(super) fn outcome(outcome: &Outcome, verb: &str) -> String {
    let row = |(entry, why): &(Entry, Why)| {
        let why = match why {
            Why::Useless(why) => format!("useless: {}", clean::line(why)),
            Why::Old => format!("last used {}", time(entry.last_used)),
            Why::Room => "to make room".to_owned(),
            Why::Asked => String::new(),
        };
        [verb.to_owned(), entry.kind.name.to_owned(), human(entry.size_bytes), clean::line(&entry.what), why]
    };
    let (facts, others): (Vec<_>, Vec<_>) = outcome.removed.iter().partition(|(entry, _)| *entry.kind == FACT);
    let mut rows: Vec<_> = others.into_iter().map(row).collect();
    if !facts.is_empty() {
        let bytes = facts.iter().map(|(entry, _)| entry.size_bytes).sum();
        rows.push([verb.to_owned(), FACT.name.to_owned(), human(bytes), count_of_facts(facts.len()), String::new()]);
    }
    let mut out = output::columns(&rows);
    let what = text::count(outcome.removed.len(), "item");
    let left = human(outcome.left_bytes());
    out.push_str(&format!("{verb} {what} of {}; {left} left\n", human(outcome.freed_bytes())));
    out
}

/// Why the limit is not met, where it is not.
pub(super) fn hints(outcome: &Outcome, goal: Goal) -> Vec<String> {
    let Some(limit) = goal.limit.bytes().filter(|limit| outcome.left_bytes() > *limit) else { return Vec::new() };
    let bytes = |which: fn(&&Entry) -> bool| outcome.left.iter().filter(which).map(|entry| entry.size_bytes).sum();
    let pinned: u64 = bytes(|entry| !entry.pinned_by.is_empty());
    let used: u64 = bytes(|entry| entry.in_use) + outcome.in_use.iter().map(|entry| entry.size_bytes).sum::<u64>();
    let mut hints = Vec::new();
    if pinned > 0 && !goal.pinned {
        let pinned = human(pinned);
        hints.push(format!(
            "more than {} is left: {pinned} are pinned kernels, which only --pinned removes",
            human(limit)
        ));
    }
    if used > 0 {
        hints.push(format!("more than {} is left: another vmlab makes or uses {}", human(limit), human(used)));
    }
    let facts: u64 = bytes(|entry| *entry.kind == FACT);
    if facts > limit {
        hints.push(format!(
            "{} are facts, which are never removed to make room; `vmlab cache clear facts` removes them",
            human(facts)
        ));
    }
    hints
}
