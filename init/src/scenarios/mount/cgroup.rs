//! Cgroup v1 beside v2.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::directory;
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{Code, Sandbox, refused};
use crate::scenarios::support::{Scratch, judge, known, mount_tmpfs};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};

pub(super) const V1_MEMORY: Scenario = Scenario::new(
    "mount.cgroup-v1-memory",
    "The memory controller cannot be mounted as cgroup v1 while cgroup v2 uses it",
    v1_memory,
)
.shows(&["version-33"], "cgroups(7), section Mounting v1 controllers")
.steps(&[
    "A cgroup of v2 is created, for which the memory controller is enabled.",
    "mount(cgroup, memory) mounts a hierarchy of cgroup v1 with the memory controller, and must fail with EBUSY.",
    "The control mounts a hierarchy with a name and without controllers, which succeeds.",
])
.by_means_of("the memory controller, which v2 uses")
.needs(&["CONFIG_MEMCG", "CONFIG_MEMCG_V1"], 4, 5, 0)
.probed_by(probe);

fn v1_memory(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let _used = Cgroup::create(&[])?;
    let options = if sandbox.applies() { "memory" } else { "none,name=vmlab" };
    let answer = mount_v1(options)?.map_err(Code::from);
    judge(&format!("mount(cgroup, {options})"), &answer, &refused(Errno::EBUSY), &Ok(()))
}

fn probe() -> Result<Probe, Trouble> {
    // Without a child cgroup, v1 would take the controller away from v2 (kernel/cgroup/cgroup.c, rebind_subsystems).
    let _used = Cgroup::create(&[])?;
    // Since 6.11, a kernel without CONFIG_MEMCG_V1 answers EINVAL (kernel/cgroup/cgroup-v1.c, cgroup1_parse_param).
    known("mount(cgroup, memory)", mount_v1("memory")?, &[Errno::EINVAL, Errno::ENODEV], &[Errno::EBUSY])
}

fn mount_v1(options: &str) -> Result<nix::Result<()>, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let target = directory(scratch.path(), "v1")?;
    Ok(mount(Some("vmlab"), &target, Some("cgroup"), MsFlags::empty(), Some(options)))
}
