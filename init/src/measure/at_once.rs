//! What many namespaces cost that processes create one after another, as when containers start.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::sched::CloneFlags;

use super::Measure;
use super::ballast::Ballast;
use super::kinds::{self, KINDS, Kind};
use super::member::Member;
use super::meter::{Meter, Operation, in_child, median_of, quartile};
use crate::scenarios::Trouble;
use crate::sys::shared::Shared;

/// Processes in a sample of the baseline.
const SINGLE: u64 = 6;

pub(super) const AT_ONCE: Measure = Measure {
    id: "measure.at-once",
    title: "The cost of unshare(2) in each of 10 and 100 processes, against one process alone",
    steps: &[
        "10, then 100 new processes call unshare(2) with the flag of one kind of namespace, one after another without a \
         pause, and stay: the median of the times of unshare(2).",
        "Baseline: the time in one process, which ends before the next one.",
    ],
    source: "unshare(2); namespaces(7)",
    config: kinds::CONFIG,
    since: kinds::SINCE,
    modules: &[],
    cpus: 1,
    probe: kinds::probe,
    measure: at_once,
};

fn at_once(meter: &mut Meter) -> Result<(), Trouble> {
    let _ballast = Ballast::new()?;
    for kind in &KINDS {
        // The greater number first. What its end leaves in the kernel's allocators is then the same for the smaller one in each boot; in
        // the other order the cost of 10 mount namespaces had two values (7.2: 36 and 100 thousand instructions).
        for size in [100, 10] {
            let shared = meter.shared();
            // In a child: the memory of this process, which a fork copies, stays the same.
            let mut many = |times| in_child(&shared, || create(&shared, kind, times));
            let mut single = |times| in_child(&shared, || median_of(times, || create(&shared, kind, 1)));
            meter.compare(
                Operation::new(format!("unshare: each of {size} new {} namespaces", kind.name), &mut many)
                    .exactly(size),
                Operation::new("the same in one process", &mut single).exactly(SINGLE),
            )?;
        }
    }
    Ok(())
}

/// `count` times the median of the times in so many processes, which stay until all have a namespace.
fn create(shared: &Shared, kind: &Kind, count: u64) -> Result<u64, Trouble> {
    // The first is that of `in_child`.
    let [_, times @ ..] = shared.counters();
    let times: Vec<_> = (0..count).zip(times).map(|(_, time)| time).collect();
    let create = |time: &&AtomicU64| {
        let in_new_process = || kind.time_to_create().map(|ns| time.store(ns, Ordering::Relaxed));
        Member::start(CloneFlags::empty(), in_new_process)
    };
    let members = times.iter().map(create).collect::<Result<Vec<_>, Trouble>>()?;
    drop(members);
    let mut times: Vec<_> = times.iter().map(|time| time.load(Ordering::Relaxed)).collect();
    Ok(quartile(&mut times, 2).saturating_mul(count))
}
