//! Mounts are private to a mount namespace, unless they propagate (`mount_namespaces(7)`, section Shared subtrees).

use std::fs;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, umount2};
use vmlab_protocol::catalogue::Namespace;

use super::{directory, propagate, unshare_mounts};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::support::{Scratch, exists, judge, mount_tmpfs, require, write};
use crate::scenarios::{Finding, Scenario, Trouble};

const MAN_PAGE: &str = "mount_namespaces(7), section Shared subtrees";

pub(super) const PRIVATE: Scenario =
    Scenario::new("mount.private", "A mount made inside is not visible outside", private)
        .shows(&["private-namespaces"], "mount_namespaces(7)")
        .steps(&[
            "Inside: mount(2) mounts a tmpfs, and a file is written there.",
            "Outside: the file must not be visible.",
        ])
        .inside(&[Namespace::Mount])
        .needs(&[], 2, 4, 19);

fn private(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_inside(sandbox, scratch.path())
}

pub(super) const PROPAGATION: Scenario = Scenario::new(
    "mount.propagation",
    "A shared mount that is made private inside does not propagate outside",
    propagation,
)
.shows(&["private-namespaces"], MAN_PAGE)
.steps(&[
    "Outside: mount(2) mounts a tmpfs, and mount(MS_SHARED) makes it shared.",
    "Inside: all mounts are made private. mount(2) mounts another tmpfs below the first, and a file is written there.",
    "Outside: the file must not be visible.",
])
.inside(&[Namespace::Mount])
.needs(&[], 2, 6, 15);

fn propagation(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_inside(sandbox, &shared(&scratch)?)
}

pub(super) const PRIVATE_COPY: Scenario = Scenario::new(
    "mount.private-copy",
    "A new mount namespace shares the propagation of its mounts, until it makes them private",
    private_copy,
)
.shows(&["private-namespaces"], MAN_PAGE)
.steps(&[
    "Outside: mount(2) mounts a tmpfs, and mount(MS_SHARED) makes it shared.",
    "Another process calls unshare(CLONE_NEWNS). mount(MS_PRIVATE) makes its copy private; not in the control.",
    "That process mounts another tmpfs below the first, and writes a file there.",
    "Outside: the file must not be visible. In the control it is visible.",
])
.by_means_of("MS_PRIVATE")
.needs(&[], 2, 6, 15);

fn private_copy(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let mark = shared(&scratch)?.join("mark");
    let inside = sandbox.run(|| {
        unshare_mounts()?;
        if sandbox.applies() {
            propagate(scratch.path(), MsFlags::MS_PRIVATE)?;
        }
        mark_mount(&mark)
    })?;
    require("whether the mount is visible inside", &inside, &true)?;
    judge("whether the mount is visible outside", &exists(&mark)?, &false, &true)
}

pub(super) const SLAVE: Scenario = Scenario::new(
    "mount.slave",
    "Mounts made outside appear in a namespace with slave mounts, and none goes back",
    slave,
)
.shows(&["biederman-5", "private-namespaces"], MAN_PAGE)
.steps(&[
    "Outside: mount(2) mounts a tmpfs, and mount(MS_SHARED) makes it shared.",
    "Another process calls unshare(CLONE_NEWNS). mount(MS_SLAVE) makes its copy a slave. The control calls mount(MS_PRIVATE).",
    "That process mounts a tmpfs below, which is not visible outside.",
    "Outside: mount(2) mounts a tmpfs below, and a file is written there.",
    "The file must be visible to the process, by /proc/PID/root. In the control it is not visible.",
])
.by_means_of("MS_SLAVE")
.needs(&["CONFIG_PROC_FS"], 2, 6, 15);

fn slave(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let below = shared(&scratch)?;
    let back = directory(scratch.path(), "back")?.join("mark");
    let inside = sandbox.hold(|| {
        unshare_mounts()?;
        propagate(scratch.path(), if sandbox.applies() { MsFlags::MS_SLAVE } else { MsFlags::MS_PRIVATE })?;
        mark_mount(&back)
    })?;
    require("whether the mount made inside is visible inside", inside.value(), &true)?;
    require("whether the mount made inside is visible outside", &exists(&back)?, &false)?;
    require("whether the mount made outside is visible outside", &mark_mount(&below.join("mark"))?, &true)?;
    let seen = format!("/proc/{}/root{}/mark", inside.pid(), below.display());
    judge("whether the mount made outside is visible inside", &exists(Path::new(&seen))?, &true, &false)
}

pub(super) const UMOUNT: Scenario =
    Scenario::new("mount.umount", "A mount detached inside stays mounted outside", umount)
        .shows(&["private-namespaces"], "mount_namespaces(7)")
        .steps(&[
            "Outside: mount(2) mounts a tmpfs, and a file is written there.",
            "Inside: umount2(MNT_DETACH) detaches the tmpfs, and the file is not visible.",
            "Outside: the file must still be visible.",
        ])
        .inside(&[Namespace::Mount])
        .needs(&[], 2, 4, 19);

fn umount(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let mark = scratch.join("mark");
    write(&mark, "")?;
    let inside = sandbox.run(|| {
        umount2(scratch.path(), MntFlags::MNT_DETACH).during("umount2(MNT_DETACH) inside")?;
        exists(&mark)
    })?;
    require("whether the mount is visible inside", &inside, &false)?;
    judge("whether the mount is visible outside", &exists(&mark)?, &true, &false)
}

/// Mounts a shared tmpfs; returns an empty directory there.
fn shared(scratch: &Scratch) -> Result<std::path::PathBuf, Trouble> {
    mount_tmpfs(scratch.path())?;
    propagate(scratch.path(), MsFlags::MS_SHARED)?;
    let below = scratch.join("below");
    fs::create_dir(&below).during("mkdir(2)")?;
    Ok(below)
}

/// Mounts inside and looks for the mount outside.
fn mount_inside(sandbox: &Sandbox, target: &Path) -> Result<Finding, Trouble> {
    let mark = target.join("mark");
    let inside = sandbox.run(|| mark_mount(&mark))?;
    require("whether the mount is visible inside", &inside, &true)?;
    judge("whether the mount is visible outside", &exists(&mark)?, &false, &true)
}

/// Mounts a tmpfs on the directory of this file, and writes the file; returns whether it is visible.
fn mark_mount(mark: &Path) -> Result<bool, Trouble> {
    mount_tmpfs(mark.parent().unwrap_or(mark))?;
    write(mark, "")?;
    exists(mark)
}
