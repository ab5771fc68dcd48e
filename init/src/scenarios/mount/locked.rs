//! Mounts that a less privileged mount namespace has inherited are locked (`mount_namespaces(7)`, section Restrictions on mount
//! namespaces).

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use vmlab_protocol::catalogue::Namespace;

use super::{bind, probe_setattr};
use crate::sandbox::{Code, Sandbox, refused};
use crate::scenarios::support::{Scratch, judge, mount_tmpfs};
use crate::scenarios::{Finding, Scenario, Trouble};
use crate::sys::mount::{At, Attributes, set_attributes};

const MAN_PAGE: &str = "mount_namespaces(7), section Restrictions on mount namespaces";
const CONFIG: &[&str] = &["CONFIG_USER_NS"];
const INSIDE: &[Namespace] = &[Namespace::User, Namespace::Mount];
const OUTSIDE_STEP: &str = "Outside: mount(2) mounts a tmpfs and makes the mount read-only.";
const CONTROL_STEP: &str = "The control has a mount namespace, but no user namespace: there the call succeeds.";

pub(super) const REMOUNT: Scenario = Scenario::new(
    "mount.locked-remount",
    "Root of a user namespace cannot remount an inherited read-only mount for writing",
    remount,
)
.shows(&["0a", "later-locked-mounts"], MAN_PAGE)
.steps(&[OUTSIDE_STEP, "Inside: mount(MS_REMOUNT | MS_BIND) without MS_RDONLY must fail with EPERM.", CONTROL_STEP])
.inside(INSIDE)
.control_inside(&[Namespace::Mount])
.needs(CONFIG, 3, 8, 0);

fn remount(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = read_only()?;
    let answer = sandbox.run(|| {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        Ok(mount(None::<&str>, scratch.path(), None::<&str>, flags, None::<&str>).map_err(Code::from))
    })?;
    judge("mount(MS_REMOUNT | MS_BIND) inside", &answer, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const SETATTR: Scenario = Scenario::new(
    "mount.locked-setattr",
    "Root of a user namespace cannot clear the read-only attribute of an inherited mount",
    setattr,
)
.shows(&["0a", "later-locked-mounts"], MAN_PAGE)
.steps(&[OUTSIDE_STEP, "Inside: mount_setattr(2) that clears MOUNT_ATTR_RDONLY must fail with EPERM.", CONTROL_STEP])
.inside(INSIDE)
.control_inside(&[Namespace::Mount])
.needs(CONFIG, 5, 12, 0)
.probed_by(probe_setattr);

fn setattr(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = read_only()?;
    let answer = sandbox
        .run(|| Ok(set_attributes(At::Path(scratch.path()), false, Attributes::WRITABLE).map_err(Code::from)))?;
    judge("mount_setattr(2) inside", &answer, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const UMOUNT: Scenario = Scenario::new(
    "mount.locked-umount",
    "Root of a user namespace cannot unmount an inherited mount and see what is below",
    umount,
)
.shows(&["0a", "later-locked-mounts"], MAN_PAGE)
.steps(&[OUTSIDE_STEP, "Inside: umount2(MNT_DETACH) of the mount must fail with EINVAL.", CONTROL_STEP])
.inside(INSIDE)
.control_inside(&[Namespace::Mount])
.needs(CONFIG, 3, 8, 0);

fn umount(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = read_only()?;
    let answer = sandbox.run(|| Ok(umount2(scratch.path(), MntFlags::MNT_DETACH).map_err(Code::from)))?;
    judge("umount2(MNT_DETACH) inside", &answer, &refused(Errno::EINVAL), &Ok(()))
}

/// A directory with a tmpfs, mounted read-only.
fn read_only() -> Result<Scratch, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    bind(scratch.path(), scratch.path(), MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)?;
    Ok(scratch)
}
