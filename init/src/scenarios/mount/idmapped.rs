//! Mounts with id maps (`mount_setattr(2)`, section ID-mapped mounts).

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use vmlab_protocol::catalogue::Namespace;

use super::{directory, probe_setattr, probe_user_namespaces, tmpfs};
use crate::sandbox::{Code, During, OUTER_ID, Sandbox, refused};
use crate::scenarios::file::{Feature, LoopDisk, probe_disk};
use crate::scenarios::support::{Scratch, judge, known, mount_tmpfs, open_namespace, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::mount::{At, Attributes, OPEN_TREE_CLONE, move_mount, open_tree, open_tree_attr, set_attributes};

const MAN_PAGE: &str = "mount_setattr(2), section ID-mapped mounts";

pub(super) const IDMAPPED: Scenario = Scenario::new(
    "mount.idmapped",
    "On an id-mapped mount of tmpfs, the files of root belong to the mapped user",
    idmapped,
)
.shows(&["later-idmapped-mounts", "version-1"], MAN_PAGE)
.steps(&[
    "mount(2) mounts a tmpfs, and root writes a file there.",
    "open_tree(OPEN_TREE_CLONE) clones the mount. mount_setattr(2) gives the clone the id maps of a user namespace, in which \
     0 is 100000 outside. Not in the control.",
    "move_mount(2) attaches the clone to a directory.",
    "The file's owner, seen through the clone, must be 100000. In the control it is 0.",
])
.by_means_of("MOUNT_ATTR_IDMAP")
.needs(&["CONFIG_USER_NS"], 6, 3, 0)
.probed_by(probe_idmapped_tmpfs);

fn idmapped(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (scratch, clone) = cloned_tmpfs()?;
    if sandbox.applies() {
        map(&clone)?.during("mount_setattr(MOUNT_ATTR_IDMAP)")?;
    }
    judge("the owner of root's file on the clone", &owner(&scratch, &clone)?, &OUTER_ID, &0)
}

pub(super) const CLEAR: Scenario = Scenario::new(
    "mount.idmapped-clear",
    "open_tree_attr(2) makes a clone of an id-mapped mount without its id maps",
    clear,
)
.shows(&["later-idmapped-mounts"], "open_tree_attr(2)")
.steps(&[
    "mount(2) mounts a tmpfs, root writes a file there, and mount_setattr(2) gives a clone of the mount id maps.",
    "open_tree_attr(OPEN_TREE_CLONE) clones it again and clears MOUNT_ATTR_IDMAP. The control calls open_tree(2).",
    "The file's owner, seen through the second clone, must be 0. In the control it is 100000.",
])
.by_means_of("open_tree_attr(2)")
.needs(&["CONFIG_USER_NS"], 6, 15, 0)
.probed_by(probe_open_tree_attr);

fn clear(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (scratch, first) = cloned_tmpfs()?;
    map(&first)?.during("mount_setattr(MOUNT_ATTR_IDMAP)")?;
    let at = At::Mount(first.as_fd());
    let second = if sandbox.applies() {
        open_tree_attr(at, OPEN_TREE_CLONE, Attributes::NOT_ID_MAPPED).during("open_tree_attr(OPEN_TREE_CLONE)")?
    } else {
        open_tree(at, OPEN_TREE_CLONE).during("open_tree(OPEN_TREE_CLONE)")?
    };
    judge("the owner of root's file on the second clone", &owner(&scratch, &second)?, &0, &OUTER_ID)
}

fn probe_open_tree_attr() -> Result<Probe, Trouble> {
    if let missing @ Probe::Missing(_) = probe_user_namespaces()? {
        return Ok(missing);
    }
    let call = open_tree_attr(At::Nowhere, 0, Attributes::READ_ONLY);
    known("open_tree_attr(-1)", call, &[Errno::ENOSYS], &[Errno::EBADF])
}

pub(super) const EXT4: Scenario = Scenario::new(
    "mount.idmapped-ext4",
    "On an id-mapped mount of ext4, the files of root belong to the mapped user",
    idmapped_ext4,
)
.shows(&["later-idmapped-mounts"], MAN_PAGE)
.steps(&[
    "mount(2) mounts a new ext4 file system from a loop device, and root writes a file there.",
    "open_tree(OPEN_TREE_CLONE) clones the mount. mount_setattr(2) gives the clone id maps. Not in the control.",
    "The file's owner, seen through the clone, must be 100000. In the control it is 0.",
])
.by_means_of("MOUNT_ATTR_IDMAP")
.needs(&["CONFIG_USER_NS", "CONFIG_BLK_DEV_LOOP", "CONFIG_EXT4_FS"], 5, 12, 0)
.with_modules(&["loop", "ext4"])
.probed_by(probe_ext4);

fn idmapped_ext4(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let disk = LoopDisk::ext4(Feature::Verity)?;
    write(disk.join("file"), "")?;
    let clone = open_tree(At::Path(&disk.join("")), OPEN_TREE_CLONE).during("open_tree(OPEN_TREE_CLONE)")?;
    if sandbox.applies() {
        map(&clone)?.during("mount_setattr(MOUNT_ATTR_IDMAP)")?;
    }
    judge("the owner of root's file on the clone", &owner(&scratch, &clone)?, &OUTER_ID, &0)
}

fn probe_ext4() -> Result<Probe, Trouble> {
    probe_id_maps()?.and(probe_disk)
}

pub(super) const UNSUPPORTED: Scenario =
    Scenario::new("mount.idmapped-unsupported", "procfs and the initramfs have no id-mapped mounts", unsupported)
        .shows(&["later-idmapped-mounts"], MAN_PAGE)
        .steps(&[
            "open_tree(OPEN_TREE_CLONE) clones the mounts of /proc and /. The control clones two mounts of tmpfs.",
            "mount_setattr(2) with the id maps of a user namespace must fail with EINVAL for both.",
        ])
        .by_means_of("a file system without FS_ALLOW_IDMAP")
        .needs(&["CONFIG_USER_NS"], 6, 3, 0)
        .probed_by(probe_idmapped_tmpfs);

fn unsupported(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let own = [tmpfs(scratch.path(), "first")?, tmpfs(scratch.path(), "second")?];
    let paths =
        if sandbox.applies() { [Path::new("/proc"), Path::new("/")] } else { own.each_ref().map(|p| p.as_path()) };
    let mut seen = Vec::new();
    for path in paths {
        let clone = open_tree(At::Path(path), OPEN_TREE_CLONE).during("open_tree(OPEN_TREE_CLONE)")?;
        seen.push(map(&clone)?.map_err(Code::from));
    }
    let invalid = vec![refused(Errno::EINVAL); 2];
    judge("mount_setattr(MOUNT_ATTR_IDMAP)", &seen, &invalid, &vec![Ok(()); 2])
}

/// Tests whether the kernel has what each id-mapped mount needs.
fn probe_id_maps() -> Result<Probe, Trouble> {
    probe_user_namespaces()?.and(probe_setattr)
}

fn probe_idmapped_tmpfs() -> Result<Probe, Trouble> {
    if let missing @ Probe::Missing(_) = probe_id_maps()? {
        return Ok(missing);
    }
    let (_scratch, clone) = cloned_tmpfs()?;
    known("mount_setattr(MOUNT_ATTR_IDMAP) of tmpfs", map(&clone)?, &[Errno::EINVAL], &[])
}

/// A tmpfs with a file of root, and a detached clone of its mount.
fn cloned_tmpfs() -> Result<(Scratch, OwnedFd), Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let source = tmpfs(scratch.path(), "source")?;
    write(source.join("file"), "")?;
    let clone = open_tree(At::Path(&source), OPEN_TREE_CLONE).during("open_tree(OPEN_TREE_CLONE)")?;
    Ok((scratch, clone))
}

/// Gives the mount the id maps of a new user namespace.
fn map(mount: &OwnedFd) -> Result<nix::Result<()>, Trouble> {
    let namespace = Sandbox::none().with_namespaces(&[Namespace::User]).hold(|| Ok(()))?;
    let file = open_namespace(namespace.pid(), "user")?;
    let attributes = Attributes { id_map: Some(file.as_fd()), ..Attributes::default() };
    Ok(set_attributes(At::Mount(mount.as_fd()), false, attributes))
}

/// Attaches the mount; returns the owner of the file there.
fn owner(scratch: &Scratch, mount: &OwnedFd) -> Result<u32, Trouble> {
    let target = directory(scratch.path(), "target")?;
    move_mount(At::Mount(mount.as_fd()), &target, 0).during("move_mount(2)")?;
    Ok(fs::metadata(target.join("file")).during("stat(2)")?.uid())
}
