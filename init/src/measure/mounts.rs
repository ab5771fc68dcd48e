//! What mounts cost those who do not use them.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::stat;
use vmlab_protocol::catalogue::Namespace;

use super::Measure;
use super::ballast::{Ballast, more_mounts};
use super::inside::Inside;
use super::meter::{MOST, Meter, Operation, median_of, time};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::{Scratch, Trouble};
use crate::sys::shared::Shared;

/// The most new mount namespaces in a sample.
const NAMESPACES: u64 = 4;

const SANDBOX: Sandbox = Sandbox::none().with_namespaces(&[Namespace::Mount]);

pub(super) const MOUNTS: Measure = Measure {
    id: "measure.mounts",
    title: "The cost of unshare(CLONE_NEWNS), stat(2) and mountinfo with 100 and 400 more mounts",
    steps: &[
        "In a process in a mount namespace with 100, then 400 more mounts: the time of unshare(CLONE_NEWNS), of stat(2) \
         of a file that is on none of them, and of reading /proc/self/mountinfo.",
        "Baseline: the same in a mount namespace without these mounts.",
    ],
    source: "mount_namespaces(7)",
    config: &["CONFIG_PROC_FS", "CONFIG_TMPFS"],
    since: (2, 6, 26),
    modules: &[],
    cpus: 1,
    probe: || SANDBOX.probe(),
    measure: mounts,
};

/// An operation: its name, and the time of so many.
type Cost = (&'static str, u64, fn(&Inside, &Shared, u64) -> Result<u64, Trouble>);

const COSTS: [Cost; 3] = [
    ("unshare(CLONE_NEWNS)", NAMESPACES, |inside, shared, times| {
        let unshare = || unshare(CloneFlags::CLONE_NEWNS).during("unshare(CLONE_NEWNS)");
        median_of(times, || {
            inside.measure(shared, || {
                // The code of the clock and of the call is in memory then.
                time(|| nix::sched::unshare(CloneFlags::empty()).during("unshare(0)"))?;
                time(unshare)
            })
        })
    }),
    ("stat", MOST, |inside, shared, times| {
        let stat = || stat("/dev/null").during("stat(2)").map(drop);
        inside.measure(shared, || {
            stat()?;
            time(|| (0..times).try_for_each(|_| stat()))
        })
    }),
    ("reading mountinfo", MOST, |inside, shared, times| {
        let read = || fs::read("/proc/self/mountinfo").during("reading /proc/self/mountinfo").map(drop);
        inside.measure(shared, || {
            read()?;
            time(|| (0..times).try_for_each(|_| read()))
        })
    }),
];

fn mounts(meter: &mut Meter) -> Result<(), Trouble> {
    let _ballast = Ballast::new()?;
    let scratch = Scratch::new()?;
    let none = Inside::mounts(&SANDBOX, || Ok(()))?;
    // All mounts are there before anything is measured, and until the end: mounts that come and go would leave holes.
    let with = |count| Inside::mounts(&SANDBOX, || more_mounts(&scratch, count));
    let namespaces = [(100, with(100)?), (400, with(400)?)];
    for (count, many) in &namespaces {
        for (name, most, cost) in COSTS {
            let shared = meter.shared();
            let mut with = |times| cost(many, &shared, times);
            let mut without = |times| cost(&none, &shared, times);
            meter.compare(
                Operation::new(format!("{name}, {count} more mounts"), &mut with).at_most(most),
                Operation::new("the same without them", &mut without).at_most(most),
            )?;
        }
    }
    Ok(())
}
