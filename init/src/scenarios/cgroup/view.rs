//! Cgroup namespaces.

use vmlab_protocol::catalogue::Namespace;

use super::super::support::{Scratch, cgroup_of, exists, judge, mount_kind, require};
use super::super::{Finding, Scenario, Trouble};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{During, Sandbox};

pub(super) const INIT_VIEW: Scenario = Scenario::new(
    "cgroup.init-view",
    "The cgroup of a process outside the cgroup namespace is shown above the namespace's root",
    init_view,
)
.shows(&["biederman-4"], "cgroup_namespaces(7)")
.steps(&[
    "Outside: reads the cgroup of PID 1 from /proc/1/cgroup.",
    "Inside, in a cgroup and a cgroup namespace: reads the same file.",
    "The path inside must begin with /.. before the path that is seen outside.",
    "The control is in a cgroup and no cgroup namespace: the paths are equal.",
])
.inside(&[Namespace::Cgroup])
.in_cgroup(&[])
.needs(&["CONFIG_CGROUPS", "CONFIG_NAMESPACES"], 4, 6, 0);

fn init_view(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = cgroup_of("1")?;
    let seen = sandbox.run(|| cgroup_of("1"))?;
    let above = format!("/..{}", outside.trim_end_matches('/'));
    judge("the cgroup of PID 1, seen inside", &seen, &above, &outside)
}

pub(super) const MOUNT: Scenario =
    Scenario::new("cgroup.mount", "A cgroup2 mount in a cgroup namespace begins at the namespace's root", mount_root)
        .shows(&["biederman-4"], "cgroup_namespaces(7)")
        .steps(&[
            "Outside: creates a cgroup beside the cgroup of the sandbox.",
            "Inside: mounts cgroup2; the mount must have a file cgroup.procs.",
            "The other cgroup must not be a directory of that mount.",
            "The control is in the initial namespaces: its mount shows the other cgroup.",
        ])
        .inside(&[Namespace::Cgroup, Namespace::Mount])
        .in_cgroup(&[])
        .needs(&["CONFIG_CGROUPS", "CONFIG_NAMESPACES"], 4, 6, 0);

fn mount_root(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let sibling = Cgroup::create(&[])?;
    let scratch = Scratch::new()?;
    let (mounted, shown) = sandbox.run(|| {
        mount_kind("cgroup2", scratch.path(), None).during("mount(cgroup2) inside")?;
        Ok((exists(&scratch.join("cgroup.procs"))?, exists(&scratch.join(sibling.path().trim_start_matches('/')))?))
    })?;
    require("whether cgroup2 is mounted inside", &mounted, &true)?;
    judge("whether the mount shows a sibling of the sandbox's cgroup", &shown, &false, &true)
}

pub(super) const VIEW: Scenario =
    Scenario::new("cgroup.view", "A process sees the root of its cgroup namespace as its own cgroup", view)
        .shows(&["biederman-4"], "cgroup_namespaces(7)")
        .steps(&[
            "Inside, in a cgroup and a cgroup namespace: reads its own cgroup from /proc/self/cgroup.",
            "The path must be /.",
            "The control is in a cgroup and no cgroup namespace: it reads the cgroup's path.",
        ])
        .inside(&[Namespace::Cgroup])
        .in_cgroup(&[])
        .needs(&["CONFIG_CGROUPS", "CONFIG_NAMESPACES"], 4, 6, 0);

fn view(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| cgroup_of("self"))?;
    judge("the process's own cgroup, seen inside", &inside.value().as_str(), &"/", &inside.cgroup().as_str())
}
