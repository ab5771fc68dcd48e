//! Cgroups of the v2 hierarchy: their namespaces, limits and counters.
//!
//! Where a limit is fixed text, it is one of the sandbox's ([`Sandbox::limits`]), and the trial creates its cgroups with it.
//! Trials compare counters of cgroups with each other, and assert no durations.

mod control;
mod cpu;
mod cpuset;
mod device;
mod disk;
mod huge;
mod io;
mod memory;
mod nested;
mod nsdelegate;
mod peak;
mod pids;
mod reclaim;
mod share;
mod task;
mod v1;
mod view;
mod weight;

use super::support::decide;
use super::{Finding, Scenario, Trouble};
use crate::sandbox::Sandbox;
use crate::sandbox::cgroup::Cgroup;

/// The document of the files of cgroups. Each section has the name of its controller.
const DOCUMENT: &str = "Documentation/admin-guide/cgroup-v2.rst";

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[
    &cpu::BURST,
    &cpu::IDLE,
    &cpu::MAX,
    &cpu::NICE,
    &cpu::USAGE,
    &cpu::WEIGHT,
    &cpuset::CPUS,
    &cpuset::PARTITION,
    &device::DEVICE,
    &control::FREEZE,
    &control::FROZEN_TIME,
    &huge::HUGETLB_MAX,
    &view::INIT_VIEW,
    &io::DIRECT,
    &io::MAX,
    &weight::IO_WEIGHT,
    &io::WRITEBACK,
    &control::KILL,
    &nested::MAX_DESCENDANTS,
    &memory::HIGH,
    &memory::MAX,
    &reclaim::MIN,
    &peak::PEAK,
    &reclaim::RECLAIM,
    &memory::USAGE,
    &view::MOUNT,
    &nested::MEMORY,
    &nested::PIDS,
    &nested::PIDS_EVENTS,
    &nsdelegate::LIMITS,
    &nsdelegate::MOVE,
    &memory::OOM_GROUP,
    &control::OUTSIDE,
    &pids::EVENTS,
    &pids::MAX,
    &cpu::PRESSURE,
    &v1::CONTROLLER,
    &view::VIEW,
];

/// Does work in a process and compares what two cgroups are charged for. With the mechanism, the process is in a cgroup of its
/// own; in the control it is in the cgroup of the bystander. `act` returns when the work is done, and `amount` is what the cgroup
/// of the process must be charged for at least.
fn charged(
    sandbox: &Sandbox,
    what: &str,
    amount: u64,
    measure: impl Fn(&Cgroup) -> Result<u64, Trouble>,
    act: impl FnOnce() -> Result<(), Trouble>,
) -> Result<Finding, Trouble> {
    let (own, bystander) = (Cgroup::create(&[])?, Cgroup::create(&[])?);
    let home = if sandbox.applies() { &own } else { &bystander };
    let before = (measure(&own)?, measure(&bystander)?);
    // The process stays, because the kernel gives back the memory of a process that has ended.
    let _inside = sandbox.hold(|| {
        home.enter()?;
        act()
    })?;
    let grown = (measure(&own)?.saturating_sub(before.0), measure(&bystander)?.saturating_sub(before.1));
    let (much, little) = (amount, amount / 8);
    decide(
        &format!("growth of {what} in the process's own cgroup and in the other one"),
        &grown,
        (grown.0 >= much && grown.1 < little, grown.1 >= much && grown.0 < little),
        format_args!("at least {much} in one and less than {little} in the other"),
    )
}
