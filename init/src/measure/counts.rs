//! What namespaces cost those who are not in them: the cost of one more where there are many.

use std::mem::forget;

use nix::unistd::getpid;

use super::Measure;
use super::kinds::{self, KINDS, Kind};
use super::meter::{FORK, Meter, Operation, forks, in_child, settle, sum};
use crate::sandbox::{Held, Sandbox};
use crate::scenarios::Trouble;

/// The most processes in a sample.
const PROCESSES: u64 = 4;

/// Kinds, and how many namespaces there are of them. Network namespaces take most memory.
const MANY: [(&str, [u32; 3]); 2] = [("net", [0, 16, 64]), ("uts", [0, 64, 512])];

pub(super) const COUNTS: Measure = Measure {
    id: "measure.counts",
    title: "The cost of one more namespace where there are up to 64 (net) or 512 (uts) others",
    steps: &[
        "With so many more namespaces of a kind: the time of unshare(2) in a new process.",
        "Baseline: the time in which a process is forked, ends and is reaped.",
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
            let mut one_more = |times| {
                // In a child: the memory of this process, which a fork copies, stays the same.
                in_child(&shared, || {
                    let _many = members(kind, count)?;
                    settle();
                    sum(times, || in_child(&shared, || kind.time_to_create()))
                })
            };
            let operation = Operation::new(format!("unshare: a {name} namespace, {count} more"), &mut one_more);
            meter.compare(operation.at_most(PROCESSES), Operation::new(FORK, &mut forks))?;
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
