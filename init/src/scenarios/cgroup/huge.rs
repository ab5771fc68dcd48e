//! The hugetlb controller.

use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::super::support::{Scratch, judge, mount_kind, read, require, write};
use super::super::{Finding, Scenario, Trouble, Undo};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{Code, During, Limit, Sandbox, refused};

const POOL: &str = "/proc/sys/vm/nr_hugepages";

pub(super) const HUGETLB_MAX: Scenario = Scenario::new(
    "cgroup.hugetlb-max",
    "hugetlb.2MB.max limits the huge pages of a cgroup",
    hugetlb_max,
)
.shows(&["later-limits"], "Documentation/admin-guide/cgroup-v2.rst, section HugeTLB Interface Files")
.steps(&[
    "Outside: reserves two huge pages (vm.nr_hugepages), mounts hugetlbfs, and sets hugetlb.2MB.max to one page.",
    "Inside: fallocate(2) of one huge page must succeed, and that of a second one fail with ENOSPC.",
    "The control has no limit: both succeed.",
])
.in_cgroup(&[Limit { file: "hugetlb.2MB.max", value: "2M" }])
.needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_HUGETLB", "CONFIG_HUGETLBFS"], 5, 6, 0);

fn hugetlb_max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const SIZE: i64 = 2 << 20;
    let before = read(POOL)?;
    let _back = Undo::new("the number of huge pages", || write(POOL, &before));
    write(POOL, "2")?;
    require("the number of huge pages", &read(POOL)?.as_str(), &"2")?;
    let scratch = Scratch::new()?;
    mount_kind("hugetlbfs", scratch.path(), Some("pagesize=2M")).during("mount(hugetlbfs)")?;
    let cgroup = Cgroup::create(sandbox.limits())?;
    let (first, second) = sandbox.run(|| {
        cgroup.enter()?;
        let file = File::create_new(scratch.join("file")).during("creating a file on hugetlbfs")?;
        let allocate = |offset| fallocate(&file, FallocateFlags::empty(), offset, SIZE).map_err(Code::from);
        Ok((allocate(0), allocate(SIZE)))
    })?;
    require("fallocate(2) of the first page", &first, &Ok(()))?;
    judge("fallocate(2) of the second page", &second, &refused(Errno::ENOSPC), &Ok(()))
}
