//! The io controller. The block device is a loop device on a file in memory, so no disk is needed.

use super::super::support::{decide, field, note, present, require};
use super::super::{Finding, Probe, Scenario, Trouble};
use super::disk::{self, Disk, PAGE, direct_writer, write_cached};
use super::task::{Task, use_first_cpu};
use crate::sandbox::cgroup::{self, Cgroup};
use crate::sandbox::{During, End, Sandbox};

const SECTION: &str = "Documentation/admin-guide/cgroup-v2.rst, section IO Interface Files";

/// How many writes io.stat of the cgroup counts for the device.
pub(super) fn write_count(cgroup: &Cgroup, device: &str) -> Result<u64, Trouble> {
    Ok(written(cgroup, device)?.number)
}

const fn writes(number: u64) -> Io {
    Io { bytes: number * PAGE as u64, number }
}

/// The writes to a device.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Io {
    bytes: u64,
    number: u64,
}

/// What io.stat of the cgroup counts for the device.
fn written(cgroup: &Cgroup, device: &str) -> Result<Io, Trouble> {
    let stat = cgroup.read("io.stat")?;
    let Some(line) = stat.lines().find_map(|line| line.strip_prefix(device)?.strip_prefix(' ')) else {
        return Ok(Io::default());
    };
    let value = |key: &str| {
        let text = line.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        text.unwrap_or("0").parse::<u64>().during(format_args!("reading {key} of io.stat"))
    };
    Ok(Io { bytes: value("wbytes")?, number: value("wios")? })
}

fn probe_stat() -> Result<Probe, Trouble> {
    cgroup::probe_file("io.stat")?.and(disk::probe)
}

pub(super) const DIRECT: Scenario =
    Scenario::new("cgroup.io-direct", "io.stat counts the direct writes of a process in its own cgroup only", direct)
        .shows(&["4f"], SECTION)
        .steps(&[
            "Creates two cgroups and a loop device. Inside: enters the first cgroup.",
            "Inside: writes 12 pages to the device with O_DIRECT; write_bytes of /proc/self/io must grow by that.",
            "io.stat of the first cgroup must count 12 writes and their bytes, and of the second one none.",
            "The control's process enters the second cgroup.",
        ])
        .by_means_of("a cgroup of its own")
        .needs(&["CONFIG_CGROUPS", "CONFIG_BLK_CGROUP", "CONFIG_BLK_DEV_LOOP", "CONFIG_TASK_IO_ACCOUNTING"], 4, 5, 0)
        .with_modules(disk::MODULES)
        .probed_by(|| present("/proc/self/io")?.and(probe_stat));

fn direct(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const NUMBER: u64 = 12;
    counted(sandbox, writes(NUMBER), |disk| {
        let mut write = direct_writer(disk.path())?;
        let before = own_written()?;
        for _ in 0..NUMBER {
            write()?;
        }
        require("growth of write_bytes in /proc/self/io", &(own_written()? - before), &writes(NUMBER).bytes)
    })
}

/// write_bytes of /proc/self/io (proc_pid_io(5)).
fn own_written() -> Result<u64, Trouble> {
    field("/proc/self/io", "write_bytes:")?.parse().during("reading /proc/self/io")
}

/// Runs `act` in a process in a cgroup of its own, or, in the control, in the cgroup of the bystander; then writes all dirty
/// pages to the device, and compares what the cgroups are charged for. The number of writes is compared if it is not 0.
fn counted(
    sandbox: &Sandbox,
    expected: Io,
    act: impl FnOnce(&Disk) -> Result<(), Trouble>,
) -> Result<Finding, Trouble> {
    let disk = Disk::new(1 << 20)?;
    let device = disk.name()?;
    let (own, bystander) = (Cgroup::create(&[])?, Cgroup::create(&[])?);
    let home = if sandbox.applies() { &own } else { &bystander };
    sandbox.run(|| {
        home.enter()?;
        act(&disk)
    })?;
    disk.sync()?;
    let mut counts = (written(&own, &device)?, written(&bystander, &device)?);
    note(format_args!("writes that io.stat counts: {counts:?}"));
    if expected.number == 0 {
        (counts.0.number, counts.1.number) = (0, 0);
    }
    decide(
        "writes to the device that io.stat counts in the process's own cgroup and in the other one",
        &counts,
        (counts == (expected, Io::default()), counts == (Io::default(), expected)),
        format_args!("{expected:?} in one of them"),
    )
}

pub(super) const MAX: Scenario = Scenario::new(
    "cgroup.io-max",
    "io.max holds back the writes of a cgroup, not those of another one",
    max,
)
.shows(&["5b", "biederman-5"], SECTION)
.steps(&[
    "Creates two cgroups and a loop device. io.max of the first cgroup allows 4096 bytes a second to the device.",
    "A process in the first cgroup writes 16 pages with O_DIRECT. A process in the second cgroup writes meanwhile.",
    "The second one must complete 1024 writes before the first one has completed its 16 (wios of io.stat).",
    "Outside: lifts the limit; then the first process must complete its writes.",
    "The control has no io.max: the 16 writes are complete first.",
])
.by_means_of("io.max")
.needs(&["CONFIG_CGROUPS", "CONFIG_BLK_DEV_THROTTLING", "CONFIG_BLK_DEV_LOOP"], 4, 5, 0)
.with_modules(disk::MODULES)
.probed_by(|| cgroup::probe_file("io.max")?.and(disk::probe));

fn max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const FEW: u64 = 16;
    const MANY: u64 = 1024;
    let disk = Disk::new(1 << 20)?;
    let device = disk.name()?;
    let (limited, other) = (Cgroup::create(&[])?, Cgroup::create(&[])?);
    if sandbox.applies() {
        limited.write("io.max", &format!("{device} wbps={PAGE}"))?;
    }
    let slow = Task::start(&limited, || {
        use_first_cpu()?;
        let mut write = direct_writer(disk.path())?;
        (0..FEW).try_for_each(|_| write())
    })?;
    let done = sandbox.run(|| {
        other.enter()?;
        use_first_cpu()?;
        let mut write = direct_writer(disk.path())?;
        for done in 0..MANY {
            if written(&limited, &device)?.number == FEW {
                return Ok(done);
            }
            write()?;
        }
        Ok(MANY)
    });
    // Before anything can fail: the process waits for its writes and cannot be killed.
    limited.write("io.max", &format!("{device} wbps=max"))?;
    require("the end of the process with 16 writes", &slow.end()?, &End::Exited(0))?;
    let done = done?;
    require("its writes in the end", &written(&limited, &device)?, &writes(FEW))?;
    decide("writes of the other cgroup before the 16 were complete", &done, (done == MANY, done < MANY), "at most 1024")
}

pub(super) const WRITEBACK: Scenario = Scenario::new(
    "cgroup.io-writeback",
    "io.stat counts cached writes in the cgroup that made the pages dirty, whoever flushes them",
    writeback,
)
.shows(&["4f"], "Documentation/admin-guide/cgroup-v2.rst, section Writeback")
.steps(&[
    "Creates two cgroups and a loop device. Inside: enters the first cgroup and writes 256 KiB through the page cache.",
    "Outside: fsync(2) by a process of neither cgroup writes the pages to the device.",
    "io.stat of the first cgroup must count these bytes, and of the second one none.",
    "The control's process enters the second cgroup.",
])
.by_means_of("a cgroup of its own")
.needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_WRITEBACK", "CONFIG_BLK_DEV_LOOP"], 4, 5, 0)
.with_modules(disk::MODULES)
.probed_by(probe_stat);

fn writeback(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const BYTES: usize = 256 << 10;
    // The kernel decides in how many requests it writes the pages.
    counted(sandbox, Io { bytes: BYTES as u64, number: 0 }, |disk| write_cached(disk.path(), BYTES))
}
