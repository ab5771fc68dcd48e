//! The mount calls that take descriptors: `open_tree(2)`, `move_mount(2)`, fsopen(2).

use std::fs::File;
use std::os::fd::AsFd as _;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};

use super::{directory, propagate, tmpfs};
use crate::sandbox::{Code, During, Sandbox, refused};
use crate::scenarios::support::{Scratch, exists, judge, known, mount_tmpfs, require, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::mount::{
    At, FSCONFIG_CMD_CREATE, FSCONFIG_CMD_CREATE_EXCL, MOVE_MOUNT_BENEATH, MOVE_MOUNT_SET_GROUP, OPEN_TREE_CLONE,
    fsconfig, fsopen, move_mount, open_tree,
};

pub(super) const OPEN_TREE: Scenario =
    Scenario::new("mount.open-tree", "What is mounted on a clone of a mount is not visible in the mount", clone)
        .shows(&["later-mount-api"], "open_tree(2); move_mount(2)")
        .steps(&[
            "mount(2) mounts a tmpfs with a directory.",
            "open_tree(OPEN_TREE_CLONE) makes a detached clone of the mount. The control opens the mount itself.",
            "mount(2) mounts a tmpfs on the directory, and a file is written there.",
            "By the descriptor of the clone, the file must not be visible. In the control it is visible.",
            "move_mount(2) attaches the clone elsewhere, where the tmpfs is visible.",
        ])
        .by_means_of("OPEN_TREE_CLONE")
        .needs(&[], 5, 2, 0)
        .probed_by(probe_open_tree);

fn clone(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let source = tmpfs(scratch.path(), "source")?;
    let (below, target) = (directory(&source, "below")?, directory(scratch.path(), "target")?);
    let flags = if sandbox.applies() { OPEN_TREE_CLONE } else { 0 };
    let tree = open_tree(At::Path(&source), flags).during("open_tree(2)")?;
    mount_tmpfs(&below)?;
    write(below.join("file"), "")?;
    move_mount(At::Mount(tree.as_fd()), &target, 0).during("move_mount(2)")?;
    require("whether the tmpfs is visible where it was moved to", &exists(&target.join("below"))?, &true)?;
    judge("whether the later mount is visible there", &exists(&target.join("below/file"))?, &false, &true)
}

fn probe_open_tree() -> Result<Probe, Trouble> {
    known("open_tree(-1)", open_tree(At::Nowhere, 0), &[Errno::ENOSYS], &[Errno::EBADF])
}

pub(super) const SET_GROUP: Scenario = Scenario::new(
    "mount.set-group",
    "MOVE_MOUNT_SET_GROUP adds a private mount to the peer group of a shared one",
    set_group,
)
.shows(&["later-mount-api"], "move_mount(2), MOVE_MOUNT_SET_GROUP")
.steps(&[
    "mount(2) mounts a tmpfs. open_tree(OPEN_TREE_CLONE) and move_mount(2) make a private copy of the mount.",
    "mount(MS_SHARED) makes the first mount shared.",
    "move_mount(MOVE_MOUNT_SET_GROUP) adds the copy to the group of the first. Not in the control.",
    "mount(2) mounts a tmpfs below the first mount, and a file is written there.",
    "The file must be visible below the copy. In the control it is not visible.",
])
.by_means_of("MOVE_MOUNT_SET_GROUP")
.needs(&[], 5, 15, 0)
.probed_by(probe_set_group);

fn set_group(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let (first, copy) = (tmpfs(scratch.path(), "first")?, directory(scratch.path(), "copy")?);
    let below = directory(&first, "below")?;
    let tree = open_tree(At::Path(&first), OPEN_TREE_CLONE).during("open_tree(OPEN_TREE_CLONE)")?;
    move_mount(At::Mount(tree.as_fd()), &copy, 0).during("move_mount(2)")?;
    propagate(&first, MsFlags::MS_SHARED)?;
    if sandbox.applies() {
        move_mount(At::Path(&first), &copy, MOVE_MOUNT_SET_GROUP).during("move_mount(MOVE_MOUNT_SET_GROUP)")?;
    }
    mount_tmpfs(&below)?;
    write(below.join("file"), "")?;
    judge("whether the mount is visible below the copy", &exists(&copy.join("below/file"))?, &true, &false)
}

fn probe_set_group() -> Result<Probe, Trouble> {
    probe_move_mount("move_mount(-1, MOVE_MOUNT_SET_GROUP)", MOVE_MOUNT_SET_GROUP)
}

pub(super) const BENEATH: Scenario = Scenario::new(
    "mount.beneath",
    "MOVE_MOUNT_BENEATH puts a mount below another one, which stays in use until its umount",
    beneath,
)
.shows(&["later-mount-api"], "move_mount(2), MOVE_MOUNT_BENEATH")
.steps(&[
    "mount(2) mounts a tmpfs with the file old on a directory, and a tmpfs with the file new elsewhere.",
    "open_tree(OPEN_TREE_CLONE) clones the second mount.",
    "move_mount(MOVE_MOUNT_BENEATH) attaches the clone to the directory. The control passes no flag.",
    "The file old must still be visible in the directory. In the control the file new is.",
    "After umount2(2) of the directory, the other file is visible.",
])
.by_means_of("MOVE_MOUNT_BENEATH")
.needs(&[], 6, 5, 0)
.probed_by(probe_beneath);

fn beneath(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let (target, new) = (tmpfs(scratch.path(), "target")?, tmpfs(scratch.path(), "new")?);
    write(target.join("old"), "")?;
    write(new.join("new"), "")?;
    let tree = open_tree(At::Path(&new), OPEN_TREE_CLONE).during("open_tree(OPEN_TREE_CLONE)")?;
    let flags = if sandbox.applies() { MOVE_MOUNT_BENEATH } else { 0 };
    move_mount(At::Mount(tree.as_fd()), &target, flags).during("move_mount(2)")?;
    let visible = || -> Result<_, Trouble> { Ok((exists(&target.join("old"))?, exists(&target.join("new"))?)) };
    let before = visible()?;
    // The descriptor keeps the clone busy.
    drop(tree);
    umount2(&target, MntFlags::empty()).during("umount2(2)")?;
    require("the other mount is visible after umount2(2)", &visible()?, &(!before.0, !before.1))?;
    judge("whether the files old and new are visible", &before, &(true, false), &(false, true))
}

fn probe_beneath() -> Result<Probe, Trouble> {
    probe_move_mount("move_mount(-1, MOVE_MOUNT_BENEATH)", MOVE_MOUNT_BENEATH)
}

/// The kernel looks at the flags before the descriptor.
fn probe_move_mount(call: &str, flags: u32) -> Result<Probe, Trouble> {
    let nowhere = std::path::Path::new("/");
    known(call, move_mount(At::Nowhere, nowhere, flags), &[Errno::ENOSYS, Errno::EINVAL], &[Errno::EBADF])
}

pub(super) const CREATE_EXCLUSIVE: Scenario = Scenario::new(
    "mount.create-exclusive",
    "FSCONFIG_CMD_CREATE_EXCL refuses a file system that is in use",
    create_exclusive,
)
.shows(&["later-mount-api"], "fsconfig(2), FSCONFIG_CMD_CREATE_EXCL")
.steps(&[
    "sysfs is mounted, and its network namespace has only one instance.",
    "fsopen(\"sysfs\") opens a context, and fsconfig(FSCONFIG_CMD_CREATE_EXCL) must fail with EBUSY.",
    "The control passes FSCONFIG_CMD_CREATE, which uses the instance again.",
])
.by_means_of("FSCONFIG_CMD_CREATE_EXCL")
.needs(&["CONFIG_SYSFS"], 6, 6, 0)
.probed_by(probe_create_exclusive);

fn create_exclusive(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let command = if sandbox.applies() { FSCONFIG_CMD_CREATE_EXCL } else { FSCONFIG_CMD_CREATE };
    let _used = File::open("/sys/kernel").during("open(/sys/kernel)")?;
    let context = fsopen(c"sysfs").during("fsopen(sysfs)")?;
    let created = fsconfig(&context, command).map_err(Code::from);
    judge("fsconfig(2) of a second instance", &created, &refused(Errno::EBUSY), &Ok(()))
}

fn probe_create_exclusive() -> Result<Probe, Trouble> {
    let context = match fsopen(c"tmpfs") {
        Err(Errno::ENOSYS) => return Ok(Probe::Missing("fsopen(tmpfs): ENOSYS".to_owned())),
        context => context.during("fsopen(tmpfs)")?,
    };
    let call = fsconfig(&context, FSCONFIG_CMD_CREATE_EXCL);
    known("fsconfig(FSCONFIG_CMD_CREATE_EXCL)", call, &[Errno::EOPNOTSUPP], &[])
}
