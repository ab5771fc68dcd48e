//! Limits of a cgroup that hold for the cgroups below it.

use nix::errno::Errno;

use super::super::support::{decide, judge, require};
use super::super::{Finding, Scenario, Trouble};
use super::DOCUMENT;
use super::memory::{OOM_ALLOWED, TAKEN, exited, killed, take_in};
use super::pids::{fork_together, third_refused};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{Limit, Sandbox, answer, refused};

pub(super) const MAX_DESCENDANTS: Scenario = Scenario::new(
    "cgroup.max-descendants",
    "cgroup.max.descendants limits how many cgroups exist below a cgroup",
    max_descendants,
)
.shows(&["biederman-7", "later-limits"], "Documentation/admin-guide/cgroup-v2.rst, section Core Interface Files")
.steps(&[
    "Creates a cgroup with cgroup.max.descendants of 1, and a cgroup below it.",
    "mkdir(2) of a second cgroup below must fail with EAGAIN.",
    "The control has no limit: mkdir(2) succeeds.",
])
.in_cgroup(&[Limit { file: "cgroup.max.descendants", value: "1" }])
.needs(&["CONFIG_CGROUPS"], 4, 14, 0);

fn max_descendants(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let parent = Cgroup::create(sandbox.limits())?;
    let _first = parent.create_below(&[])?;
    let second = parent.file("second");
    let made = answer("mkdir(2)", std::fs::create_dir(&second))?;
    if made.is_ok() {
        let removed = answer("rmdir(2)", std::fs::remove_dir(&second))?;
        require("rmdir(2) of the second cgroup", &removed, &Ok(()))?;
    }
    judge("mkdir(2) of a second cgroup below", &made, &refused(Errno::EAGAIN), &Ok(()))
}

pub(super) const MEMORY: Scenario = Scenario::new(
    "cgroup.nested-memory",
    "memory.max of a cgroup holds for a process in a cgroup below that has no limit",
    memory,
)
.shows(&["biederman-7", "5c"], "Documentation/admin-guide/cgroup-v2.rst, section Memory Interface Files")
.steps(&[
    "Creates a cgroup with memory.max of 16 MiB, and a cgroup without a limit below it.",
    "Inside: a process enters the lower cgroup and takes 32 MiB.",
    "The process must be killed by SIGKILL, and oom in memory.events of the upper cgroup must count that.",
    "The control has no limit at all: the process exits with 0.",
])
.in_cgroup(&[Limit { file: "memory.max", value: "16M" }])
.needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG"], 4, 5, 0)
.allowing(OOM_ALLOWED);

fn memory(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let parent = Cgroup::create(sandbox.limits())?;
    parent.enable("memory")?;
    let below = parent.create_below(&[])?;
    let end = sandbox.run(|| take_in(&below, TAKEN))?;
    let reached = parent.count("memory.events", "oom")? > 0;
    judge(
        "the end of a process that took 32 MiB, and whether the upper cgroup counts an oom",
        &(end, reached),
        &(killed(), true),
        &(exited(), false),
    )
}

/// The process inside counts, so two forks are left.
const PIDS_LIMIT: &[Limit] = &[Limit { file: "pids.max", value: "3" }];

pub(super) const PIDS: Scenario = Scenario::new(
    "cgroup.nested-pids",
    "pids.max of a cgroup holds for the processes of a cgroup below that allows more",
    pids,
)
.shows(&["biederman-7", "6b"], "Documentation/admin-guide/cgroup-v2.rst, section PID")
.steps(&[
    "Creates a cgroup with pids.max of 3, and below it a cgroup with pids.max of 100.",
    "Inside: a process enters the lower cgroup and forks three children that live at the same time.",
    "Two calls of fork(2) must succeed, and the third one must fail with EAGAIN.",
    "The control has no limit in the upper cgroup: all three succeed.",
])
.in_cgroup(PIDS_LIMIT)
.needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_PIDS"], 4, 5, 0);

fn pids(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let parent = Cgroup::create(sandbox.limits())?;
    parent.enable("pids")?;
    let below = parent.create_below(&[Limit { file: "pids.max", value: "100" }])?;
    let forks = sandbox.run(|| {
        below.enter()?;
        fork_together(3)
    })?;
    judge("three fork(2) calls in the lower cgroup", &forks, &third_refused(), &vec![Ok(()); 3])
}

pub(super) const PIDS_EVENTS: Scenario = Scenario::new(
    "cgroup.nested-pids-events",
    "pids.events of the cgroup whose limit was reached counts a fork that was refused below",
    pids_events,
)
.shows(&["biederman-7", "6b"], DOCUMENT)
.steps(&[
    "Creates a cgroup with pids.max of 3, and a cgroup without a limit below it.",
    "Inside: a process enters the lower cgroup and forks three times; the limit refuses the third one.",
    "max in pids.events of the upper cgroup must be 1. Before Linux 6.11, the lower cgroup counts instead.",
    "The control has no limit: neither of them counts.",
])
.in_cgroup(PIDS_LIMIT)
.isolates_since((6, 11, 0), &[])
.needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_PIDS"], 4, 8, 0);

fn pids_events(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let parent = Cgroup::create(sandbox.limits())?;
    parent.enable("pids")?;
    let below = parent.create_below(&[])?;
    let refusals = sandbox.run(|| {
        below.enter()?;
        Ok(fork_together(3)?.iter().filter(|fork| fork.is_err()).count())
    })?;
    let counts = (refusals, parent.count("pids.events", "max")?, below.count("pids.events", "max")?);
    let leaks = matches!(counts, (0, 0, 0) | (1, 0, 1));
    decide(
        "refused forks, and max of pids.events in the upper and in the lower cgroup",
        &counts,
        (matches!(counts, (1, 1, _)), leaks),
        "a refusal that the upper cgroup counts or does not count",
    )
}
