//! Mount namespaces and mount flags.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use vmlab_protocol::catalogue::Namespace;

use super::support::{Scratch, exists, judge, mount_tmpfs, require, write};
use super::{Finding, Probe, Scenario, Trouble};
use crate::sandbox::{Answer, During, Sandbox, answer, refused};
use crate::sys::mount::{make_read_only_recursively, setattr_errno_without_file};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&BIND_READONLY, &PRIVATE, &PROPAGATION, &SETATTR, &UMOUNT];

const BIND_READONLY: Scenario = Scenario::new(
    "mount.bind-readonly",
    "A bind mount made read-only inside leaves the path writable outside",
    bind_readonly,
)
.shows(&["0a"], "mount(2), section Remounting an existing mount")
.inside(&[Namespace::Mount])
.needs(&[], 2, 6, 26);

fn bind_readonly(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let inside = sandbox.run(|| {
        bind(scratch.path(), MsFlags::empty())?;
        remount_read_only(scratch.path())?;
        create(&scratch.join("inside"))
    })?;
    require("open(O_CREAT) inside", &inside, &refused(Errno::EROFS))?;
    judge("open(O_CREAT) outside", &create(&scratch.join("outside"))?, &Ok(()), &refused(Errno::EROFS))
}

const PRIVATE: Scenario = Scenario::new("mount.private", "A mount made inside is not visible outside", private)
    .shows(&["private-namespaces"], "mount_namespaces(7)")
    .inside(&[Namespace::Mount])
    .needs(&[], 2, 4, 19);

fn private(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_inside(sandbox, scratch.path())
}

const PROPAGATION: Scenario = Scenario::new(
    "mount.propagation",
    "A shared mount that is made private inside does not propagate outside",
    propagation,
)
.shows(&["private-namespaces"], "mount_namespaces(7), section Shared subtrees")
.inside(&[Namespace::Mount])
.needs(&[], 2, 6, 15);

fn propagation(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    mount(None::<&str>, scratch.path(), None::<&str>, MsFlags::MS_SHARED, None::<&str>).during("mount(MS_SHARED)")?;
    let below = scratch.join("below");
    fs::create_dir(&below).during("mkdir(2)")?;
    mount_inside(sandbox, &below)
}

const SETATTR: Scenario =
    Scenario::new("mount.setattr", "mount_setattr(2) inside makes a tree of mounts read-only only inside", setattr)
        .shows(&["0a"], "mount_setattr(2)")
        .inside(&[Namespace::Mount])
        .needs(&[], 5, 12, 0)
        .probed_by(probe_setattr);

fn setattr(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let below = scratch.join("below");
    fs::create_dir(&below).during("mkdir(2)")?;
    mount_tmpfs(&below)?;
    let inside = sandbox.run(|| {
        make_read_only_recursively(scratch.path()).during("mount_setattr(2) inside")?;
        create(&below.join("inside"))
    })?;
    require("open(O_CREAT) on the submount inside", &inside, &refused(Errno::EROFS))?;
    judge("open(O_CREAT) on the submount outside", &create(&below.join("outside"))?, &Ok(()), &refused(Errno::EROFS))
}

fn probe_setattr() -> Result<Probe, Trouble> {
    match setattr_errno_without_file() {
        Errno::EBADF => Ok(Probe::Available),
        Errno::ENOSYS => Ok(Probe::Missing("mount_setattr(2): ENOSYS".to_owned())),
        errno => Err(errno).during("mount_setattr(-1)"),
    }
}

const UMOUNT: Scenario = Scenario::new("mount.umount", "A mount detached inside stays mounted outside", umount)
    .shows(&["private-namespaces"], "mount_namespaces(7)")
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

/// Mounts inside and looks for the mount outside.
fn mount_inside(sandbox: &Sandbox, target: &Path) -> Result<Finding, Trouble> {
    let mark = target.join("mark");
    let inside = sandbox.run(|| {
        mount_tmpfs(target)?;
        write(&mark, "")?;
        exists(&mark)
    })?;
    require("whether the mount is visible inside", &inside, &true)?;
    judge("whether the mount is visible outside", &exists(&mark)?, &false, &true)
}

fn bind(path: &Path, more: MsFlags) -> Result<(), Trouble> {
    let flags = MsFlags::MS_BIND | more;
    mount(Some(path), path, None::<&str>, flags, None::<&str>)
        .during(format_args!("mount({}, {flags:?})", path.display()))
}

fn remount_read_only(path: &Path) -> Result<(), Trouble> {
    bind(path, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)
}

fn create(path: &Path) -> Result<Answer, Trouble> {
    Ok(answer("open(O_CREAT)", File::create_new(path))?.map(drop))
}
