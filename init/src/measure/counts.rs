//! What namespaces cost those who are not in them: the cost of one more where there are many.

use std::mem::forget;

use nix::sched::CloneFlags;

use super::Measure;
use super::ballast::Ballast;
use super::kinds::{self, KINDS};
use super::member::Member;
use super::meter::{Meter, Operation, in_child, median_of};
use crate::scenarios::Trouble;

/// The most processes in a sample.
const PROCESSES: u64 = 4;

/// Kinds, and how many namespaces there are of them. Network namespaces take most memory. With fewer of these, the state of the
/// kernel's allocators, which differs from boot to boot, counts for more than their number (7.3, with 16: 3 %).
const MANY: [(&str, &[u32]); 2] = [("net", &[64]), ("uts", &[64, 512])];

pub(super) const COUNTS: Measure = Measure {
    id: "measure.counts",
    title: "The cost of one more namespace where there are up to 64 (net) or 512 (uts) others",
    steps: &[
        "With so many more namespaces of a kind: the time of unshare(2) in a new process.",
        "Baseline: the same without these namespaces.",
    ],
    source: "namespaces(7)",
    config: kinds::CONFIG,
    since: kinds::SINCE,
    modules: &[],
    cpus: 1,
    probe: kinds::probe,
    measure: counts,
};

fn counts(meter: &mut Meter) -> Result<(), Trouble> {
    let _ballast = Ballast::new()?;
    for (name, counts) in MANY {
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else { continue };
        for &count in counts {
            let shared = meter.shared();
            let among = |others, times| {
                // In a child: the memory of this process, which a fork copies, stays the same.
                in_child(&shared, || {
                    let _others = Member::start(CloneFlags::empty(), || {
                        let files = (0..others).map(|_| kind.one_more()).collect::<Result<Vec<_>, Trouble>>()?;
                        // Open until the process ends.
                        forget(files);
                        Ok(())
                    })?;
                    median_of(times, || in_child(&shared, || kind.time_to_create()))
                })
            };
            let mut many = |times| among(count, times);
            let mut none = |times| among(0, times);
            meter.compare(
                Operation::new(format!("unshare: a {name} namespace, {count} more"), &mut many).at_most(PROCESSES),
                Operation::new("the same with no more", &mut none).at_most(PROCESSES),
            )?;
        }
    }
    Ok(())
}
