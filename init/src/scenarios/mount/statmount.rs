//! statmount(2) and listmount(2).

use std::fs::File;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Code, During, Sandbox, refused};
use crate::scenarios::support::{Scratch, judge, known, mount_tmpfs, open_namespace, require};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::files::unique_mount_id;
use crate::sys::nsfs::mount_namespace_id;
use crate::sys::statmount::{LSMT_ROOT, listmount, statmount, statmount_by_fd};

pub(super) const STATMOUNT: Scenario = Scenario::new(
    "mount.statmount",
    "statmount(2) and listmount(2) outside do not find a mount made inside",
    by_id,
)
.shows(&["later-statmount"], "statmount(2); listmount(2)")
.steps(&[
    "Inside: mount(2) mounts a tmpfs. statx(2) returns its unique id, statmount(2) describes it, listmount(2) lists it.",
    "Outside: statmount(2) of the id must fail with ENOENT, and listmount(2) must not list it.",
])
.inside(&[Namespace::Mount])
.needs(&[], 6, 8, 0)
.probed_by(probe_statmount);

fn by_id(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let inside = sandbox.hold(|| {
        let id = mounted(&scratch)?;
        let is_described = statmount(id, None).during("statmount(2) inside")? == id;
        Ok((id, is_described, is_listed(id)?))
    })?;
    let &(id, is_described, listed_inside) = inside.value();
    require("described and listed inside", &(is_described, listed_inside), &(true, true))?;
    let outside = (statmount(id, None).map(drop).map_err(Code::from), is_listed(id)?);
    judge("described and listed outside", &outside, &(refused(Errno::ENOENT), false), &(Ok(()), true))
}

pub(super) const FOREIGN: Scenario = Scenario::new(
    "mount.statmount-foreign",
    "statmount(2) describes a mount of another namespace if the request names the namespace",
    foreign,
)
.shows(&["later-statmount"], "statmount(2), mnt_ns_id; ioctl_nsfs(2), NS_GET_MNTNS_ID")
.steps(&[
    "A process in a new mount namespace mounts a tmpfs, and statx(2) returns its unique id.",
    "Outside: ioctl(NS_GET_MNTNS_ID) of /proc/PID/ns/mnt returns the id of the namespace.",
    "Outside: statmount(2) with both ids must describe the mount. The control does not name the namespace: ENOENT.",
])
.by_means_of("mnt_id_req.mnt_ns_id")
.needs(&[], 6, 11, 0)
.probed_by(probe_foreign);

fn foreign(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let inside = Sandbox::none().with_namespaces(&[Namespace::Mount]).hold(|| mounted(&scratch))?;
    let file = open_namespace(inside.pid(), "mnt")?;
    let namespace = mount_namespace_id(&file).during("ioctl(NS_GET_MNTNS_ID)")?;
    let found = statmount(*inside.value(), sandbox.applies().then_some(namespace)).map(drop).map_err(Code::from);
    judge("statmount(2) outside", &found, &Ok(()), &refused(Errno::ENOENT))
}

fn probe_foreign() -> Result<Probe, Trouble> {
    let own = open_namespace(getpid(), "mnt")?;
    known("ioctl(NS_GET_MNTNS_ID)", mount_namespace_id(&own), &[Errno::ENOTTY], &[])
}

pub(super) const BY_FD: Scenario =
    Scenario::new("mount.statmount-fd", "statmount(STATMOUNT_BY_FD) describes a mount that has been detached", by_fd)
        .shows(&["later-statmount"], "statmount(2), STATMOUNT_BY_FD (Linux 7.0)")
        .steps(&[
            "mount(2) mounts a tmpfs. Its directory is opened, and umount2(MNT_DETACH) detaches it.",
            "statmount(STATMOUNT_BY_FD) of the open directory must describe the mount.",
            "The control passes the mount's unique id, which is in no namespace any more: ENOENT.",
        ])
        .by_means_of("STATMOUNT_BY_FD")
        .needs(&[], 7, 0, 0)
        .probed_by(probe_by_fd);

fn by_fd(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let dir = File::open(scratch.path()).during("open(2) of the mount")?;
    let id = unique_mount_id(&dir).during("statx(STATX_MNT_ID_UNIQUE)")?;
    umount2(scratch.path(), MntFlags::MNT_DETACH).during("umount2(MNT_DETACH)")?;
    let found = if sandbox.applies() { statmount_by_fd(&dir) } else { statmount(id, None) };
    let is_same = found.map(|found| found == id).map_err(Code::from);
    judge("statmount(2) has described the same mount", &is_same, &Ok(true), &refused(Errno::ENOENT))
}

fn probe_by_fd() -> Result<Probe, Trouble> {
    let root = File::open("/").during("open(/)")?;
    known("statmount(STATMOUNT_BY_FD)", statmount_by_fd(&root), &[Errno::ENOSYS, Errno::EINVAL], &[])
}

fn probe_statmount() -> Result<Probe, Trouble> {
    known("listmount(LSMT_ROOT)", listmount(LSMT_ROOT), &[Errno::ENOSYS], &[])
}

fn is_listed(id: u64) -> Result<bool, Trouble> {
    Ok(listmount(LSMT_ROOT).during("listmount(LSMT_ROOT)")?.contains(&id))
}

/// Mounts a tmpfs; returns the mount's unique id.
fn mounted(scratch: &Scratch) -> Result<u64, Trouble> {
    mount_tmpfs(scratch.path())?;
    let dir = File::open(scratch.path()).during("open(2) of the mount")?;
    unique_mount_id(&dir).during("statx(STATX_MNT_ID_UNIQUE)")
}
