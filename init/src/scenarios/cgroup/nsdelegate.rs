//! The mount option nsdelegate: a cgroup namespace as a border that its processes cannot cross.

use std::fs;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use vmlab_protocol::catalogue::Namespace;

use super::super::support::{judge, require};
use super::super::{Finding, Scenario, Trouble, Undo};
use crate::sandbox::cgroup::{Cgroup, ROOT};
use crate::sandbox::{During, Sandbox, answer, refused};

const SECTION: &str = "Documentation/admin-guide/cgroup-v2.rst, section Model of Delegation";

pub(super) const LIMITS: Scenario = Scenario::new(
    "cgroup.nsdelegate-limits",
    "With nsdelegate, a process cannot change the limits of its cgroup namespace's root",
    limits,
)
.shows(&["biederman-4", "later-limits"], SECTION)
.steps(&[
    "Outside: remounts the cgroup2 hierarchy with the option nsdelegate.",
    "Inside: enters a cgroup, and a new cgroup namespace whose root it is.",
    "Inside: writing pids.max of the namespace's root must fail with EPERM.",
    "Inside: moves into a cgroup below; writing the pids.max of that one must succeed.",
    "The control has the namespace and no nsdelegate: both writes succeed.",
])
.by_means_of("nsdelegate")
.needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_PIDS", "CONFIG_NAMESPACES"], 4, 13, 0);

fn limits(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(&[])?;
    let below = cgroup.create_below(&[])?;
    let _back = Undo::new("the options of the cgroup2 mount", || delegate(false));
    delegate(sandbox.applies())?;
    let (own, lower) = sandbox.run(|| {
        cgroup.enter()?;
        unshare(CloneFlags::CLONE_NEWCGROUP).during("unshare(CLONE_NEWCGROUP)")?;
        let own = answer("write(2)", fs::write(cgroup.file("pids.max"), "50"))?;
        // A cgroup with processes does not distribute resources (section "No Internal Process Constraint").
        below.enter()?;
        cgroup.enable("pids")?;
        Ok((own, answer("write(2)", fs::write(below.file("pids.max"), "40"))?))
    })?;
    require("writing pids.max of the cgroup below", &lower, &Ok(()))?;
    judge("writing pids.max of the namespace's root", &own, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const MOVE: Scenario = Scenario::new(
    "cgroup.nsdelegate-move",
    "With nsdelegate, a process cannot leave the cgroups of its cgroup namespace",
    leave,
)
.shows(&["biederman-4", "later-limits"], SECTION)
.steps(&[
    "Outside: remounts the cgroup2 hierarchy with the option nsdelegate.",
    "Inside, in a cgroup namespace: writes 0 to cgroup.procs of a cgroup outside of the namespace, by the mount outside.",
    "The write must fail with ENOENT.",
    "The control is in no cgroup namespace: the write moves the process.",
])
.inside(&[Namespace::Cgroup])
.in_cgroup(&[])
.needs(&["CONFIG_CGROUPS", "CONFIG_NAMESPACES"], 4, 13, 0);

fn leave(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let sibling = Cgroup::create(&[])?;
    let _back = Undo::new("the options of the cgroup2 mount", || delegate(false));
    delegate(true)?;
    let moved = sandbox.run(|| answer("write(2)", fs::write(sibling.file("cgroup.procs"), "0")))?;
    judge("writing to cgroup.procs of a cgroup outside", &moved, &refused(Errno::ENOENT), &Ok(()))
}

/// Remounts the hierarchy with the option nsdelegate, or without it. Only the initial cgroup namespace may.
fn delegate(on: bool) -> Result<(), Trouble> {
    let options = if on { "nsdelegate" } else { "" };
    mount(None::<&str>, ROOT, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID, Some(options))
        .during(format_args!("mount(MS_REMOUNT, {options:?})"))
}
