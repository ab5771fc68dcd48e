//! Weights of cgroups that use a block device (block/blk-iocost.c).

use super::super::support::{decide, note, until, write};
use super::super::{Finding, Scenario, Trouble};
use super::disk::{self, Disk, direct_writer};
use super::io::write_count;
use super::share::EQUAL;
use super::task::Task;
use crate::sandbox::cgroup::{self, Cgroup, ROOT};
use crate::sandbox::{Limit, Sandbox};

pub(super) const IO_WEIGHT: Scenario = Scenario::new(
    "cgroup.io-weight",
    "io.weight divides a device between cgroups: 10000 gets nearly all writes beside 100",
    io_weight,
)
.shows(&["5b"], "Documentation/admin-guide/cgroup-v2.rst, section IO Interface Files")
.steps(&[
    "Creates a loop device; io.cost.model says that it does 50 writes a second, and io.cost.qos enables the control.",
    "Creates a cgroup with io.weight of 10000, and one with the default of 100.",
    "A process in each of them writes pages with O_DIRECT without a pause, until there are 60 writes together, of which the last 40 count.",
    "The heavy cgroup must have 88 % of the writes at least (wios of io.stat).",
    "The control has two cgroups with the default weight: the share is about 50 %.",
])
.in_cgroup(&[Limit { file: "io.weight", value: "10000" }])
.needs(&["CONFIG_CGROUPS", "CONFIG_BLK_CGROUP_IOCOST", "CONFIG_BLK_DEV_LOOP"], 5, 4, 0)
.with_modules(disk::MODULES)
.probed_by(|| cgroup::probe_file("io.weight")?.and(disk::probe));

fn io_weight(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = Disk::new(1 << 20)?;
    let device = disk.name()?;
    // So few that also a slow machine does more: otherwise nothing is held back.
    let rates = "rbps=1000000000 rseqiops=50 rrandiops=50 wbps=1000000000 wseqiops=50 wrandiops=50";
    write(format!("{ROOT}/io.cost.model"), &format!("{device} ctrl=user model=linear {rates}"))?;
    // The rate stays as the model says, whatever the device does (min and max).
    write(format!("{ROOT}/io.cost.qos"), &format!("{device} enable=1 ctrl=user min=100.00 max=100.00"))?;
    let (heavy, other) = (Cgroup::create(sandbox.limits())?, Cgroup::create(&[])?);
    let _writers = [writer(&heavy, &disk)?, writer(&other, &disk)?];
    // In the beginning, each cgroup may write some pages at once.
    let start = await_writes(&heavy, &other, &device, 20)?;
    let end = await_writes(&heavy, &other, &device, start.0 + start.1 + 40)?;
    let done = (end.0 - start.0, end.1 - start.1);
    note(format_args!("writes of the heavy cgroup and of the other one: {done:?}"));
    let share = done.0 * 100 / (done.0 + done.1);
    let found = (share >= 88, EQUAL.contains(&share));
    decide("the heavy cgroup's share of the writes, in percent", &share, found, "at least 88, or 12 to 85")
}

/// Waits until both cgroups together have done this many writes; returns how many each of them has done.
fn await_writes(first: &Cgroup, second: &Cgroup, device: &str, together: u64) -> Result<(u64, u64), Trouble> {
    let mut done = (0, 0);
    until("the number of writes", || {
        done = (write_count(first, device)?, write_count(second, device)?);
        Ok(done.0 + done.1 >= together)
    })?;
    Ok(done)
}

/// A process that writes until it is killed.
fn writer(cgroup: &Cgroup, disk: &Disk) -> Result<Task, Trouble> {
    Task::start(cgroup, || {
        let mut write = direct_writer(disk.path())?;
        loop {
            write()?;
        }
    })
}
