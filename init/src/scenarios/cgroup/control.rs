//! Control of the processes inside from outside: killing, freezing, and limits that are set later.

use std::io::{Read as _, Write as _, pipe};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;

use super::super::support::{decide, judge, require, until};
use super::super::{Finding, Scenario, Trouble};
use super::DOCUMENT;
use super::share::{usage_usec, watch};
use super::task::Task;
use crate::sandbox::cgroup::{self, Cgroup};
use crate::sandbox::{During, End, Limit, Sandbox};
use crate::sys::process::fork_with;

const SECTION: &str = "Documentation/admin-guide/cgroup-v2.rst, section Core Interface Files";

pub(super) const FREEZE: Scenario = Scenario::new(
    "cgroup.freeze",
    "A frozen cgroup uses no CPU time, and SIGKILL still kills its processes",
    freeze,
)
.shows(&["freezing", "biederman-5"], SECTION)
.steps(&[
    "Starts a busy process in each of two cgroups, on the same CPU.",
    "Outside: writes 1 to cgroup.freeze of the first one, and waits for frozen 1 in its cgroup.events.",
    "While the second cgroup is seen to use CPU time 100 times, the first one must use less than 10 ms (usage_usec of cpu.stat).",
    "Outside: SIGKILL must kill the frozen process.",
    "The control does not freeze: both cgroups use CPU time.",
])
.by_means_of("cgroup.freeze")
.needs(&["CONFIG_CGROUPS"], 5, 2, 0)
.probed_by(|| cgroup::probe(&[FROZEN]));

const FROZEN: Limit = Limit { file: "cgroup.freeze", value: "1" };

fn freeze(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const LITTLE_USEC: u64 = 10_000;
    let (cgroup, clock) = (Cgroup::create(&[])?, Cgroup::create(&[])?);
    let task = Task::busy(&cgroup)?;
    let _busy = Task::busy(&clock)?;
    freeze_if(sandbox.applies(), &cgroup)?;
    // The kernel reports the freeze shortly before the process leaves the CPU and is charged. When the other process has worked
    // on that CPU, that is past.
    await_work(&clock, LITTLE_USEC)?;
    let used = watch(&cgroup, &clock, LITTLE_USEC)?;
    require("the end of the process after SIGKILL", &task.kill()?, &End::killed(Signal::SIGKILL))?;
    decide(
        "CPU time that the cgroup and the one beside it have used, in us",
        &used,
        (used.0 < LITTLE_USEC, used.0 >= LITTLE_USEC),
        "a number",
    )
}

fn freeze_if(applies: bool, cgroup: &Cgroup) -> Result<(), Trouble> {
    if applies {
        cgroup.write(FROZEN.file, FROZEN.value)?;
        cgroup.await_event("frozen 1")?;
    }
    Ok(())
}

/// Waits until the cgroup has used this CPU time.
fn await_work(clock: &Cgroup, work_usec: u64) -> Result<(), Trouble> {
    let before = usage_usec(clock)?;
    until("the CPU time of a busy process", || Ok(usage_usec(clock)?.saturating_sub(before) >= work_usec))
}

pub(super) const FROZEN_TIME: Scenario = Scenario::new(
    "cgroup.frozen-time",
    "frozen_usec of cgroup.stat.local counts how long a cgroup was frozen",
    frozen_time,
)
.shows(&["freezing"], SECTION)
.steps(&[
    "Starts a busy process in each of two cgroups, and freezes the first one.",
    "Waits until the second cgroup has used 20 ms of CPU time.",
    "frozen_usec in cgroup.stat.local of the first cgroup must not be 0.",
    "The control does not freeze: frozen_usec is 0.",
])
.by_means_of("cgroup.freeze")
.needs(&["CONFIG_CGROUPS"], 6, 18, 0)
.probed_by(|| cgroup::probe_file("cgroup.stat.local"));

fn frozen_time(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (cgroup, clock) = (Cgroup::create(&[])?, Cgroup::create(&[])?);
    let _busy = (Task::busy(&cgroup)?, Task::busy(&clock)?);
    freeze_if(sandbox.applies(), &cgroup)?;
    await_work(&clock, 20_000)?;
    let frozen = cgroup.count("cgroup.stat.local", "frozen_usec")?;
    decide("frozen_usec of cgroup.stat.local", &frozen, (frozen > 0, frozen == 0), "a number")
}

pub(super) const KILL: Scenario =
    Scenario::new("cgroup.kill", "Writing 1 to cgroup.kill kills every process of a cgroup", kill)
        .shows(&["biederman-5", "later-limits", "version-11"], SECTION)
        .steps(&[
            "Starts two processes in a cgroup and one in a cgroup below it.",
            "Outside: writes 1 to cgroup.kill.",
            "waitpid(2) must report for all three that SIGKILL has killed them.",
            "The control writes nothing: all three are alive.",
        ])
        .by_means_of("cgroup.kill")
        .needs(&["CONFIG_CGROUPS"], 5, 14, 0)
        .probed_by(|| cgroup::probe_file("cgroup.kill"));

fn kill(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(&[])?;
    let below = cgroup.create_below(&[])?;
    let tasks = [Task::idle(&cgroup)?, Task::idle(&cgroup)?, Task::idle(&below)?];
    if sandbox.applies() {
        cgroup.write("cgroup.kill", "1")?;
        cgroup.await_event("populated 0")?;
    }
    let mut ends = Vec::new();
    for task in tasks {
        // A process that lives is killed when its guard is dropped.
        ends.push(if task.is_alive()? { None } else { Some(task.end()?) });
    }
    judge("how three processes ended", &ends, &vec![Some(End::killed(Signal::SIGKILL)); 3], &vec![None; 3])
}

/// The exit code that stands for EAGAIN.
const REFUSED: u8 = 3;

pub(super) const OUTSIDE: Scenario = Scenario::new(
    "cgroup.outside-limit",
    "A limit that is written outside holds for a process that already runs inside",
    outside,
)
.shows(&["biederman-5"], DOCUMENT)
.steps(&[
    "Starts a process in a cgroup without limits.",
    "Outside: writes 1 to the cgroup's pids.max, then lets the process fork.",
    "Inside: fork(2) must fail with EAGAIN.",
    "The control writes nothing: fork(2) succeeds.",
])
.by_means_of("a write to pids.max from outside")
.needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_PIDS"], 4, 5, 0)
.probed_by(|| cgroup::probe_file("pids.max"));

fn outside(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(&[])?;
    let (mut start, mut starter) = pipe().during("pipe(2)")?;
    let task = Task::start(&cgroup, || {
        start.read_exact(&mut [0]).during("waiting for the limit")?;
        match fork_with(|| 0) {
            Ok(child) => waitpid(child, None).map(drop).during("waitpid(2) inside"),
            Err(Errno::EAGAIN) => std::process::exit(i32::from(REFUSED)),
            Err(errno) => Err(errno).during("fork(2) inside"),
        }
    })?;
    if sandbox.applies() {
        cgroup.write("pids.max", "1")?;
    }
    starter.write_all(&[0]).during("write(2) to the process inside")?;
    judge("the end of a process that forks", &task.end()?, &End::Exited(i32::from(REFUSED)), &End::Exited(0))
}
