//! The page cache of a cgroup: who is charged for it, and what is reclaimed.

use std::fs::File;
use std::io::Read as _;

use nix::errno::Errno;

use super::super::support::{decide, require};
use super::super::{Finding, Scenario, Trouble};
use super::disk::{self, Disk};
use crate::sandbox::cgroup::{self, Cgroup};
use crate::sandbox::{Code, During, Limit, Sandbox, answer};

const SECTION: &str = "Documentation/admin-guide/cgroup-v2.rst, section Memory Interface Files";
/// The size of the page cache, in bytes.
const CACHED: usize = 8 << 20;
/// More, and less than this, is the cache that is there and the one that was reclaimed.
const KEPT: u64 = 7 << 20;
const RECLAIMED: u64 = 4 << 20;

pub(super) const MIN: Scenario =
    Scenario::new("cgroup.memory-min", "memory.min protects the memory of a cgroup while its parent is reclaimed", min)
        .shows(&["5c"], SECTION)
        .steps(&[
            "Creates a cgroup, and below it a cgroup with memory.min of 16 MiB.",
            "Inside: enters the lower cgroup and reads 8 MiB of a block device, which stay in the page cache.",
            "Outside: sets memory.high of the upper cgroup to 1 MiB, for which the kernel reclaims at once.",
            "memory.current of the lower cgroup must be 7 MiB at least.",
            "The control has no memory.min: the cache is reclaimed.",
        ])
        .in_cgroup(&[Limit { file: "memory.min", value: "16M" }])
        .needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG", "CONFIG_BLK_DEV_LOOP"], 4, 18, 0)
        .with_modules(disk::MODULES)
        .probed_by(disk::probe);

fn min(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = Disk::new(CACHED)?;
    let parent = Cgroup::create(&[])?;
    parent.enable("memory")?;
    let cgroup = parent.create_below(sandbox.limits())?;
    let _inside = sandbox.hold(|| read_in(&cgroup, &disk))?;
    parent.write("memory.high", "1M")?;
    let left = cgroup.number("memory.current")?;
    decide(
        "memory.current of the cgroup",
        &left,
        (left >= KEPT, left < RECLAIMED),
        "7 MiB at least, or less than 4 MiB",
    )
}

/// Fills the page cache of the cgroup. The device must stay open outside, because its last close(2) frees its cache.
fn read_in(cgroup: &Cgroup, disk: &Disk) -> Result<(), Trouble> {
    cgroup.enter()?;
    let mut text = vec![0; CACHED];
    File::open(disk.path()).and_then(|mut device| device.read_exact(&mut text)).during("reading a block device")?;
    drop(text);
    let charged = cgroup.number("memory.current")?;
    require("whether the cgroup is charged for 7 MiB at least", &(charged >= KEPT), &true)
}

pub(super) const RECLAIM: Scenario = Scenario::new(
    "cgroup.memory-reclaim",
    "A write to memory.reclaim reclaims the memory of a cgroup from outside",
    reclaim,
)
.shows(&["5c", "biederman-5"], SECTION)
.steps(&[
    "Inside: enters a cgroup and reads 8 MiB of a block device, which stay in the page cache.",
    "Outside: writes 8M to memory.reclaim of the cgroup.",
    "memory.current of the cgroup must be less than 4 MiB.",
    "The control writes nothing: memory.current is 7 MiB at least.",
])
.by_means_of("memory.reclaim")
.needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG", "CONFIG_BLK_DEV_LOOP"], 5, 19, 0)
.with_modules(disk::MODULES)
.probed_by(|| cgroup::probe_file("memory.reclaim")?.and(disk::probe));

fn reclaim(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = Disk::new(CACHED)?;
    let cgroup = Cgroup::create(&[])?;
    let _inside = sandbox.hold(|| read_in(&cgroup, &disk))?;
    if sandbox.applies() {
        // EAGAIN: the kernel has reclaimed less than asked for.
        match answer("write(2)", std::fs::write(cgroup.file("memory.reclaim"), "8M"))?.map_err(Code::errno) {
            Ok(()) | Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno).during("writing to memory.reclaim"),
        }
    }
    let left = cgroup.number("memory.current")?;
    decide(
        "memory.current of the cgroup",
        &left,
        (left < RECLAIMED, left >= KEPT),
        "less than 4 MiB, or 7 MiB at least",
    )
}
