//! The costs of creating, entering and destroying a namespace of each kind.

use super::Measure;
use super::kinds::{self, KINDS, Kind};
use super::meter::{FORK, Meter, Operation, forks, in_child, settle, sum, time};
use crate::scenarios::Trouble;

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
    probe: kinds::probe,
    measure: create,
};

fn create(meter: &mut Meter) -> Result<(), Trouble> {
    for kind in &KINDS {
        let shared = meter.shared();
        let mut unshare = |times| sum(times, || in_child(&shared, || kind.time_to_create()));
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
    probe: kinds::probe,
    measure: enter,
};

fn enter(meter: &mut Meter) -> Result<(), Trouble> {
    for kind in &KINDS {
        let shared = meter.shared();
        let member = kind.member()?;
        let namespace = kind.open(member.pid())?;
        let mut setns = |times| sum(times, || in_child(&shared, || kind.time_to_enter(&namespace)));
        let operation = Operation::new(format!("setns: another {} namespace", kind.name), &mut setns);
        meter.compare(operation.at_most(PROCESSES), Operation::new(FORK, &mut forks))?;
    }
    Ok(())
}

pub(super) const DESTROY: Measure = Measure {
    id: "measure.destroy",
    title: "The cost of the last close(2) of each kind of namespace, against that of a process",
    steps: &[
        "The time of close(2) for the last descriptor of a namespace whose processes have ended.",
        "What the kernel leaves to its workers does not count: most of a network namespace's end.",
        "Baseline: the time in which a process is forked, ends and is reaped.",
    ],
    source: "namespaces(7), Namespace lifetime",
    config: kinds::CONFIG,
    since: kinds::SINCE,
    modules: &[],
    probe: kinds::probe,
    measure: destroy,
};

fn destroy(meter: &mut Meter) -> Result<(), Trouble> {
    for kind in &KINDS {
        let shared = meter.shared();
        // In a child: the memory of this process, which a fork copies, stays the same.
        let mut close = |times| sum(times, || in_child(&shared, || time_of_end(kind)));
        let operation = Operation::new(format!("close: the end of a {} namespace", kind.name), &mut close);
        meter.compare(operation.at_most(1), Operation::new(FORK, &mut forks))?;
    }
    Ok(())
}

fn time_of_end(kind: &Kind) -> Result<u64, Trouble> {
    let member = kind.member()?;
    let (file, last) = (kind.open(member.pid())?, kind.open(member.pid())?);
    drop(member);
    settle();
    // The code is in memory then.
    time(|| {
        drop(file);
        Ok(())
    })?;
    time(|| {
        drop(last);
        Ok(())
    })
}
