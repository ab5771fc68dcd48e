//! Hierarchies of cgroup v1 beside v2.

use nix::errno::Errno;

use super::super::support::{Scratch, judge, known, mount_kind};
use super::super::{Finding, Probe, Scenario, Trouble};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{Code, Sandbox, refused};

pub(super) const CONTROLLER: Scenario = Scenario::new(
    "cgroup.v1-controller",
    "A controller that cgroups of v2 use cannot be mounted as a hierarchy of v1",
    controller,
)
.shows(
    &["later-limits", "version-33"],
    "cgroups(7), section Cgroups version 2; Documentation/admin-guide/cgroup-v2.rst",
)
.steps(&[
    "Creates a cgroup of v2. PID 1 has enabled the memory controller for it.",
    "Outside: mounts a hierarchy of cgroup v1 with the controller memory, which must fail with EBUSY.",
    "The control mounts a hierarchy of v1 without a controller, which succeeds.",
])
.by_means_of("a controller that v2 uses")
// Before Linux 6.11 there is no such symbol, and the controller has its files of v1 always.
.needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG", "CONFIG_MEMCG_V1"], 4, 5, 0)
.probed_by(probe_v1);

fn controller(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    // Without a cgroup of v2 that has the controller, the mount would take the controller away from v2.
    let _cgroup = Cgroup::create(&[])?;
    let options = if sandbox.applies() { "memory" } else { "none,name=vmlab" };
    let mounted = mount_v1(&scratch, options).map_err(Code::from);
    judge(&format!("mount(cgroup, {options})"), &mounted, &refused(Errno::EBUSY), &Ok(()))
}

fn mount_v1(scratch: &Scratch, options: &str) -> nix::Result<()> {
    mount_kind("cgroup", scratch.path(), Some(options))
}

/// A kernel whose controller has no files of v1 does not know its name as an option.
fn probe_v1() -> Result<Probe, Trouble> {
    let scratch = Scratch::new()?;
    let _cgroup = Cgroup::create(&[])?;
    known("mount(cgroup, memory)", mount_v1(&scratch, "memory"), &[Errno::EINVAL, Errno::ENODEV], &[Errno::EBUSY])
}
