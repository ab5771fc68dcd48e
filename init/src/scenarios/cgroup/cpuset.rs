//! The cpuset controller. With one CPU there is nothing to divide.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::super::support::{judge, read, require};
use super::super::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sandbox::cgroup::{self, Cgroup};
use crate::sandbox::{During, Limit, Sandbox};

const SECTION: &str = "Documentation/admin-guide/cgroup-v2.rst, section Cpuset Interface Files";
const SECOND: Limit = Limit { file: "cpuset.cpus", value: "1" };

pub(super) const CPUS: Scenario =
    Scenario::new("cgroup.cpuset-cpus", "cpuset.cpus confines the processes of a cgroup to these CPUs", cpus)
        .shows(&["6a", "smp"], SECTION)
        .steps(&[
            "Creates a cgroup with cpuset.cpus of 1. Inside: enters it.",
            "Inside: of the first two CPUs, sched_getaffinity(2) must return the second one only.",
            "The control has no cpuset.cpus: it returns both.",
        ])
        .in_cgroup(&[SECOND])
        .needs(&["CONFIG_CGROUPS", "CONFIG_CPUSETS", "CONFIG_SMP"], 5, 0, 0)
        .on_cpus(2)
        .probed_by(probe_cpus);

fn cpus(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(sandbox.limits())?;
    let allowed = sandbox.run(|| {
        cgroup.enter()?;
        first_two()
    })?;
    judge("whether the first and the second CPU may be used", &allowed, &(false, true), &(true, true))
}

/// Whether the calling process may use the first CPU, and the second one.
fn first_two() -> Result<(bool, bool), Trouble> {
    let set: CpuSet = sched_getaffinity(Pid::from_raw(0)).during("sched_getaffinity(2)")?;
    Ok((set.is_set(0).during("reading a set of CPUs")?, set.is_set(1).during("reading a set of CPUs")?))
}

pub(super) const PARTITION: Scenario = Scenario::new(
    "cgroup.cpuset-partition",
    "A cpuset partition takes its CPUs away from the processes of all other cgroups",
    partition,
)
.shows(&["6a", "smp"], SECTION)
.steps(&[
    "Creates two cgroups. The first one has cpuset.cpus of 1 and becomes a partition (cpuset.cpus.partition).",
    "Inside: enters the second cgroup. Of the first two CPUs, it must be allowed to use the first one only.",
    "The control makes no partition: both may be used.",
])
.by_means_of("cpuset.cpus.partition")
.needs(&["CONFIG_CGROUPS", "CONFIG_CPUSETS", "CONFIG_SMP"], 5, 0, 0)
// Linux 5.10 does not know the workers of a work queue as threads of one CPU (kernel/cgroup/cpuset.c, update_tasks_cpumask;
// mended in 5.12 by 5c25b5ff89f0).
.allowing(&[("kernel/workqueue.c", "Linux 5.10 moves the workers that are bound to the partition's CPUs")])
.on_cpus(2)
.probed_by(|| probe_cpus()?.and(|| cgroup::probe(&[SECOND, Limit { file: "cpuset.cpus.partition", value: "root" }])));

fn partition(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (owner, other) = (Cgroup::create(&[SECOND])?, Cgroup::create(&[])?);
    // rmdir(2) gives the CPUs back too, but not at once (kernel/cgroup/cpuset.c, cpuset_css_offline, in a work queue).
    let _back = Undo::new("the partition", || owner.write("cpuset.cpus.partition", "member"));
    if sandbox.applies() {
        owner.write("cpuset.cpus.partition", "root")?;
        require("cpuset.cpus.partition", &owner.read("cpuset.cpus.partition")?.as_str(), &"root")?;
    }
    let allowed = sandbox.run(|| {
        other.enter()?;
        first_two()
    })?;
    judge(
        "whether a process of another cgroup may use the first and the second CPU",
        &allowed,
        &(true, false),
        &(true, true),
    )
}

fn probe_cpus() -> Result<Probe, Trouble> {
    let online = read("/sys/devices/system/cpu/online")?;
    Ok(if online == "0" { Probe::Missing("/sys/devices/system/cpu/online is 0".to_owned()) } else { Probe::Available })
}
