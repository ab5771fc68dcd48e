//! What namespaces cost those who are not in them: the cost of one more where there are many.

use std::mem::forget;

use nix::unistd::getpid;

use super::Measure;
use super::kinds::{self, KINDS, Kind};
use super::meter::{Meter, Operation, in_child, settle, sum};
use crate::sandbox::{Held, Sandbox};
use crate::scenarios::Trouble;
use crate::sys::shared::Shared;

/// The most processes in a sample.
const PROCESSES: u64 = 4;

/// Kinds, and how many namespaces there are of them. Network namespaces take most memory.
const MANY: [(&str, [u32; 2]); 2] = [("net", [16, 64]), ("uts", [64, 512])];

pub(super) const COUNTS: Measure = Measure {
    id: "measure.counts",
    title: "The cost of one more namespace where there are up to 64 (net) or 512 (uts) already",
    steps: &[
        "With so many more namespaces of a kind: the time of unshare(2) in a new process.",
        "Baseline: the same without them.",
    ],
    source: "namespaces(7)",
    config: kinds::CONFIG,
    since: kinds::SINCE,
    modules: &[],
    probe: kinds::probe,
    measure: counts,
};

fn counts(meter: &mut Meter) -> Result<(), Trouble> {
    for (name, counts) in MANY {
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else { continue };
        for count in counts {
            let shared = meter.shared();
            let mut with = |times| {
                // In a child: the memory of this process, which a fork copies, stays the same.
                let ns = in_child(&shared, || {
                    let _many = members(kind, count)?;
                    settle();
                    one_more(kind, &shared, times)
                });
                settle();
                ns
            };
            let mut without = |times| in_child(&shared, || one_more(kind, &shared, times));
            meter.compare(
                Operation::new(format!("unshare: a {name} namespace, {count} more"), &mut with).at_most(PROCESSES),
                Operation::new("the same without them", &mut without).at_most(PROCESSES),
            )?;
        }
    }
    Ok(())
}

/// A process that keeps so many namespaces.
fn members(kind: &Kind, count: u32) -> Result<Held<()>, Trouble> {
    Sandbox::none().hold(|| {
        for _ in 0..count {
            kind.create()?;
            // Open until the process ends.
            forget(kind.open(getpid())?);
        }
        Ok(())
    })
}

fn one_more(kind: &Kind, shared: &Shared, times: u64) -> Result<u64, Trouble> {
    sum(times, || in_child(shared, || kind.time_to_create()))
}
