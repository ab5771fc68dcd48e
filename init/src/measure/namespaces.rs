//! The costs of creating, entering and destroying a namespace of each kind.

use std::path::Path;

use super::Measure;
use super::ballast::Ballast;
use super::kinds::{self, KINDS, Kind};
use super::meter::{FORK, Meter, Operation, SCHEDSTAT, forks, idle_work, in_child, median_of, work};
use crate::scenarios::{Probe, Trouble};

/// The most processes in a sample, each of which creates or enters a namespace once.
const PROCESSES: u64 = 6;

pub(super) const CREATE: Measure = Measure {
    id: "measure.create",
    title: "The cost of unshare(2) for each kind of namespace, against that of a process",
    steps: &[
        "In a new process: the time of unshare(2) with the flag of one kind of namespace.",
        "Baseline: the time in which a process is forked, ends and is reaped.",
    ],
    source: "unshare(2); namespaces(7)",
    config: kinds::CONFIG,
    since: kinds::SINCE,
    modules: &[],
    cpus: 1,
    probe: kinds::probe,
    measure: create,
};

fn create(meter: &mut Meter) -> Result<(), Trouble> {
    let _ballast = Ballast::new()?;
    for kind in &KINDS {
        let shared = meter.shared();
        let mut unshare = |times| median_of(times, || in_child(&shared, || kind.time_to_create()));
        let operation = Operation::new(format!("unshare: a new {} namespace", kind.name), &mut unshare);
        meter.compare(operation.at_most(PROCESSES), Operation::new(FORK, &mut forks))?;
    }
    Ok(())
}

pub(super) const ENTER: Measure = Measure {
    id: "measure.enter",
    title: "The cost of setns(2) for each kind of namespace, against that of a process",
    steps: &[
        "In a new process: the time of setns(2) into a namespace that another process is in.",
        "Baseline: the time in which a process is forked, ends and is reaped.",
    ],
    source: "setns(2); namespaces(7)",
    config: kinds::CONFIG,
    since: kinds::SINCE,
    modules: &[],
    cpus: 1,
    probe: kinds::probe,
    measure: enter,
};

fn enter(meter: &mut Meter) -> Result<(), Trouble> {
    for kind in &KINDS {
        let shared = meter.shared();
        let member = kind.member()?;
        let namespace = kind.open(member.pid())?;
        let mut setns = |times| median_of(times, || in_child(&shared, || kind.time_to_enter(&namespace)));
        let operation = Operation::new(format!("setns: another {} namespace", kind.name), &mut setns);
        meter.compare(operation.at_most(PROCESSES), Operation::new(FORK, &mut forks))?;
    }
    Ok(())
}

pub(super) const DESTROY: Measure = Measure {
    id: "measure.destroy",
    title: "The whole work that the end of a namespace of each kind makes, against that of a process",
    steps: &[
        "The work of all tasks while the last descriptors of many namespaces are closed, and in a pause after that, in which \
         the kernel's threads finish the end: for each namespace.",
        "The work in a pause without such an end is subtracted. Idle time, and interrupts in it, do not count.",
        "Baseline: the time in which a process is forked, ends and is reaped.",
    ],
    source: "namespaces(7), Namespace lifetime",
    config: &[
        "CONFIG_CGROUPS",
        "CONFIG_IPC_NS",
        "CONFIG_NET_NS",
        "CONFIG_PID_NS",
        "CONFIG_SCHEDSTATS",
        "CONFIG_TIME_NS",
        "CONFIG_USER_NS",
        "CONFIG_UTS_NS",
    ],
    since: kinds::SINCE,
    modules: &[],
    cpus: 1,
    probe: || match Path::new(SCHEDSTAT).exists() {
        true => kinds::probe(),
        false => Ok(Probe::Missing(format!("there is no {SCHEDSTAT}"))),
    },
    measure: destroy,
};

fn destroy(meter: &mut Meter) -> Result<(), Trouble> {
    let idle = idle_work()?;
    for kind in &KINDS {
        let shared = meter.shared();
        // In a child: the memory of this process, which a fork copies, stays the same.
        let mut end = |times| in_child(&shared, || work_of_end(kind, times, idle));
        let operation = Operation::new(format!("the end of a {} namespace", kind.name), &mut end);
        meter.compare(operation.exactly(at_once(kind)), Operation::new(FORK, &mut forks))?;
    }
    Ok(())
}

/// How many namespaces end at once: many, for an idle system makes work too, which differs from pause to pause by some 10,000
/// instructions. The kernel's worker ends all network namespaces together, or the first one before the others, which costs it
/// some 100,000 instructions more (6.12 and 7.3).
fn at_once(kind: &Kind) -> u64 {
    match kind.name {
        "net" => 32,
        "mount" => 100,
        "ipc" | "user" => 200,
        "pid" => 400,
        // A user may have some 850 in 256 MiB (/proc/sys/user).
        _ => 600,
    }
}

/// The work of ending so many namespaces, whose processes have ended before.
fn work_of_end(kind: &Kind, count: u64, idle: u64) -> Result<u64, Trouble> {
    // One more, for the calling process may be in the last one.
    let mut namespaces = (0..=count).map(|_| kind.one_more()).collect::<Result<Vec<_>, Trouble>>()?;
    let _last = namespaces.pop();
    work(idle, || {
        drop(namespaces);
        Ok(())
    })
}
