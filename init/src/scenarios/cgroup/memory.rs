//! The memory controller: what is charged, and what exceeds a limit.

use std::hint::black_box;

use nix::sys::signal::Signal;

use super::super::support::{decide, judge, note, require};
use super::super::{Finding, Scenario, Trouble};
use super::charged;
use super::task::Task;
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{End, Limit, Sandbox};

const SECTION: &str = "Documentation/admin-guide/cgroup-v2.rst, section Memory Interface Files";
pub(super) const OOM_ALLOWED: &[(&str, &str)] =
    &[("memcg-oom: Memory cgroup out of memory", "the OOM killer enforces the limit")];
const MIB: usize = 1 << 20;

/// Twice the limit of the scenarios. The smallest guest has enough memory for this outside of the cgroup.
pub(super) const TAKEN: usize = 32 * MIB;

pub(super) const HIGH: Scenario = Scenario::new(
    "cgroup.memory-high",
    "A process that exceeds memory.high is slowed down and counted, and lives",
    high,
)
.shows(&["5c"], SECTION)
.steps(&[
    "Creates a cgroup with memory.high of 16 MiB. Inside: enters it and takes 16 MiB and 256 KiB.",
    "Outside: high in memory.events must not be 0, oom_kill must be 0, and the process must live.",
    "The control has no limit: high is 0.",
])
.in_cgroup(&[Limit { file: "memory.high", value: "16M" }])
.needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG"], 4, 5, 0);

fn high(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(sandbox.limits())?;
    // The more a process exceeds the limit, the longer it is made to sleep, up to 2 s for each 128 KiB
    // (mm/memcontrol.c, mem_cgroup_handle_over_high), so this one exceeds it by little.
    let _inside = sandbox.hold(|| {
        cgroup.enter()?;
        std::mem::forget(take(16 * MIB + MIB / 4));
        Ok(())
    })?;
    require("oom_kill in memory.events", &cgroup.count("memory.events", "oom_kill")?, &0)?;
    let exceeded = cgroup.count("memory.events", "high")?;
    decide("high in memory.events", &exceeded, (exceeded > 0, exceeded == 0), "a number")
}

pub(super) const MAX: Scenario =
    Scenario::new("cgroup.memory-max", "A process that exceeds its cgroup's memory.max is killed", max)
        .shows(&["5c"], SECTION)
        .steps(&[
            "Creates a cgroup with memory.max of 16 MiB. Inside: a process enters it and takes 32 MiB.",
            "The process must be killed by SIGKILL, and oom_kill in memory.events must be 1.",
            "The control has no limit: the process exits with 0, and nothing is counted.",
        ])
        .in_cgroup(&[Limit { file: "memory.max", value: "16M" }])
        .needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG"], 4, 13, 0)
        .allowing(OOM_ALLOWED);

fn max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(sandbox.limits())?;
    let end = sandbox.run(|| take_in(&cgroup, TAKEN))?;
    let kills = cgroup.count("memory.events", "oom_kill")?;
    judge(
        "the end of a process that took 32 MiB, and oom_kill of its cgroup",
        &(end, kills),
        &(killed(), 1),
        &(exited(), 0),
    )
}

/// How a killed process ended.
pub(super) fn killed() -> String {
    End::killed(Signal::SIGKILL).to_string()
}

pub(super) fn exited() -> String {
    End::Exited(0).to_string()
}

/// Takes memory in a process in the cgroup; returns how the process ended.
pub(super) fn take_in(cgroup: &Cgroup, bytes: usize) -> Result<String, Trouble> {
    let task = Task::start(cgroup, || {
        drop(take(bytes));
        Ok(())
    })?;
    Ok(task.end()?.to_string())
}

/// Allocates memory and writes to each page, because the kernel allocates a page at the first write.
pub(super) fn take(bytes: usize) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut memory = vec![0_u8; bytes];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    black_box(memory)
}

/// memory.max of 16 MiB, and the same limit for a cgroup whose processes are killed together.
const ONE: Limit = Limit { file: "memory.max", value: "16M" };
const GROUP: Limit = Limit { file: "memory.oom.group", value: "1" };

pub(super) const OOM_GROUP: Scenario = Scenario::new(
    "cgroup.oom-group",
    "With memory.oom.group, the OOM killer kills all processes of a cgroup, not one",
    oom_group,
)
.shows(&["5c"], SECTION)
.steps(&[
    "Creates a cgroup with memory.max of 16 MiB and memory.oom.group of 1.",
    "Inside: a process sleeps, and another one takes 32 MiB, until the OOM killer acts.",
    "oom_kill in memory.events must be more than 1, and the sleeping process must be killed by SIGKILL.",
    "The control has no memory.oom.group: oom_kill is 1.",
])
.by_means_of("memory.oom.group")
.needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG"], 4, 19, 0)
.probed_by(|| crate::sandbox::cgroup::probe(&[ONE, GROUP]))
.allowing(OOM_ALLOWED);

fn oom_group(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(if sandbox.applies() { &[ONE, GROUP] } else { &[ONE] })?;
    let sleeper = Task::idle(&cgroup)?;
    // The killer works in the process that allocates, so all kills are counted when it has ended. The process that took the
    // memory may count twice: the killer chooses it, and then kills all of the group (mm/oom_kill.c, oom_kill_process).
    require("the end of the process that took 32 MiB", &take_in(&cgroup, TAKEN)?, &killed())?;
    let kills = cgroup.count("memory.events", "oom_kill")?;
    note(format_args!("oom_kill in memory.events: {kills}"));
    let other = if kills > 1 { Some(sleeper.end()?.to_string()) } else { None };
    judge("how the other process ended", &other, &Some(killed()), &None)
}

pub(super) const USAGE: Scenario =
    Scenario::new("cgroup.memory-usage", "The memory that a process touches is charged to its own cgroup only", usage)
        .shows(&["4e"], SECTION)
        .steps(&[
            "Creates two cgroups. Inside: enters the first one and writes to 8 MiB of new memory.",
            "Outside: memory.current of the first cgroup must have grown by that, the second one's not.",
            "The control's process enters the second cgroup.",
        ])
        .by_means_of("a cgroup of its own")
        .needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG"], 4, 5, 0)
        .probed_by(|| crate::sandbox::cgroup::probe(&[ONE]));

fn usage(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // Each CPU may have charged some pages in advance (mm/memcontrol.c, MEMCG_CHARGE_BATCH).
    const AMOUNT: u64 = 7 << 20;
    charged(
        sandbox,
        "memory.current",
        AMOUNT,
        |cgroup| cgroup.number("memory.current"),
        || {
            std::mem::forget(take(8 * MIB));
            Ok(())
        },
    )
}
