//! What system calls cost in a process that is in new namespaces of all kinds.

use nix::sys::stat::stat;
use nix::sys::utsname::uname;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{getpid, sethostname};

use super::Measure;
use super::inside::{Inside, outside};
use super::kinds;
use super::meter::{Meter, Operation, time};
use crate::sandbox::During;
use crate::scenarios::Trouble;

pub(super) const SYSCALLS: Measure = Measure {
    id: "measure.syscalls",
    title: "The cost of system calls inside new namespaces of all kinds, against that outside",
    steps: &[
        "In a process in new namespaces of all kinds: the time of a loop of one system call.",
        "Baseline: the same loop in a process in the initial namespaces.",
    ],
    source: "namespaces(7)",
    config: kinds::CONFIG,
    since: kinds::SINCE,
    modules: &[],
    cpus: 1,
    probe: kinds::probe,
    measure: syscalls,
};

/// A system call, by its name.
type Call = (&'static str, fn() -> Result<(), Trouble>);

const CALLS: [Call; 5] = [
    ("clock_gettime", || clock_gettime(ClockId::CLOCK_MONOTONIC).during("clock_gettime(2)").map(drop)),
    ("getpid", || {
        let _pid = getpid();
        Ok(())
    }),
    ("sethostname", || sethostname("vmlab").during("sethostname(2)")),
    ("stat", || stat("/dev/null").during("stat(2)").map(drop)),
    ("uname", || uname().during("uname(2)").map(drop)),
];

fn syscalls(meter: &mut Meter) -> Result<(), Trouble> {
    let inside = Inside::everything()?;
    for (name, call) in CALLS {
        let shared = meter.shared();
        let repeat = |times| {
            call()?;
            time(|| (0..times).try_for_each(|_| call()))
        };
        let mut in_there = |times| inside.measure(&shared, || repeat(times));
        let mut out_here = |times| outside(&shared, || repeat(times));
        meter.compare(Operation::new(name, &mut in_there), Operation::new("the same outside", &mut out_here))?;
    }
    Ok(())
}
