//! What the files of namespaces tell: owner, parent, and ids that survive no boot and no reuse.

use std::fs::File;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, getpid};
use vmlab_protocol::catalogue::Namespace;

use super::{flag, inode, open};
use crate::sandbox::{Answer, Code, During, Sandbox, refused};
use crate::scenarios::support::{become_user, judge, known, require};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::descriptor::Handle;
use crate::sys::nsfs;

pub(super) const HANDLE: Scenario = Scenario::new(
    "namespace.handle",
    "A file handle names a namespace without a process, a descriptor or a mount",
    handle,
)
.shows(&["biederman-3", "later-nsfs"], "open_by_handle_at(2); struct nsfs_file_handle in include/uapi/linux/nsfs.h")
.steps(&[
    "Inside: a process in a new UTS namespace waits.",
    "Outside: name_to_handle_at(2) returns the handle of its namespace; the file is closed.",
    "open_by_handle_at(2) must open the same namespace again, which is another one than that of outside.",
])
.inside(&[Namespace::Uts])
.needs(&["CONFIG_UTS_NS", "CONFIG_FHANDLE"], 6, 18, 0)
.probed_by(probe_handle);

fn handle(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let first = open(inside.pid(), "uts")?;
    let number = inode(&first)?;
    let handle = Handle::of(&first).during("name_to_handle_at(2) of a namespace")?;
    drop(first);
    let own = open(getpid(), "uts")?;
    let again = File::from(handle.open(&own).during("open_by_handle_at(2) of a namespace")?);
    let found = inode(&again)?;
    judge(
        "whether the handle led to the namespace inside, and to that of outside",
        &(found == number, found == inode(&own)?),
        &(true, false),
        &(true, true),
    )
}

fn probe_handle() -> Result<Probe, Trouble> {
    let namespace = open(getpid(), "uts")?;
    known("name_to_handle_at(2) of a namespace", Handle::of(&namespace), &[Errno::EOPNOTSUPP, Errno::ENOSYS], &[])
}

pub(super) const ID: Scenario =
    Scenario::new("namespace.id", "NS_GET_ID returns a number that each namespace has for itself", id)
        .shows(&["biederman-3", "later-nsfs"], "NS_GET_ID in include/uapi/linux/nsfs.h")
        .steps(&[
            "Outside: ioctl(NS_GET_ID) returns the id of the leg's UTS namespace.",
            "The id of the UTS namespace of a process inside must be another one. In the control it is the same.",
        ])
        .inside(&[Namespace::Uts])
        .needs(&["CONFIG_UTS_NS"], 6, 18, 0)
        .probed_by(probe_id);

fn id(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    differs(sandbox, "uts", "NS_GET_ID", nsfs::id)
}

pub(super) fn probe_id() -> Result<Probe, Trouble> {
    known("NS_GET_ID", nsfs::id(&open(getpid(), "uts")?), &[Errno::ENOTTY], &[])
}

pub(super) const MOUNT_ID: Scenario = Scenario::new(
    "namespace.mount-id",
    "NS_GET_MNTNS_ID returns a number that each mount namespace has for itself",
    mount_id,
)
.shows(&["biederman-3", "later-nsfs", "version-18"], "NS_GET_MNTNS_ID in include/uapi/linux/nsfs.h")
.steps(&[
    "Outside: ioctl(NS_GET_MNTNS_ID) returns the id of the leg's mount namespace.",
    "The id of the mount namespace of a process inside must be another one. In the control it is the same.",
])
.inside(&[Namespace::Mount])
.needs(&[], 6, 11, 0)
.probed_by(probe_mount_id);

fn mount_id(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    differs(sandbox, "mnt", "NS_GET_MNTNS_ID", |file| nsfs::mount_namespace_id(file))
}

fn probe_mount_id() -> Result<Probe, Trouble> {
    known("NS_GET_MNTNS_ID", nsfs::mount_namespace_id(&open(getpid(), "mnt")?), &[Errno::ENOTTY], &[])
}

/// Compares a number of the namespace inside with that of the namespace outside.
fn differs(
    sandbox: &Sandbox,
    link: &str,
    call: &str,
    number: fn(&File) -> nix::Result<u64>,
) -> Result<Finding, Trouble> {
    let of = |process: Pid| number(&open(process, link)?).during(call);
    let inside = sandbox.hold(|| Ok(()))?;
    let (outer, inner) = (of(getpid())?, of(inside.pid())?);
    crate::scenarios::support::decide(
        &format!("{call} outside, and of the process inside"),
        &(outer, inner),
        (outer != inner, outer == inner),
        "different or equal numbers",
    )
}

pub(super) const OWNER: Scenario =
    Scenario::new("namespace.owner", "NS_GET_USERNS opens the user namespace that owns a namespace", owner)
        .shows(&["1d", "later-nsfs"], "ioctl_ns(2)")
        .steps(&[
            "Inside: a process in new user and UTS namespaces waits.",
            "Outside: NS_GET_NSTYPE of its UTS namespace returns CLONE_NEWUTS, and NS_GET_PARENT fails with EINVAL.",
            "NS_GET_USERNS of its UTS namespace must open the user namespace of the process, not that of outside.",
        ])
        .inside(&[Namespace::User, Namespace::Uts])
        .needs(&["CONFIG_USER_NS", "CONFIG_UTS_NS"], 4, 11, 0)
        .probed_by(probe_owner);

fn owner(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let names = open(inside.pid(), "uts")?;
    require("NS_GET_NSTYPE", &nsfs::kind(&names).during("NS_GET_NSTYPE")?, &flag(Namespace::Uts).bits())?;
    let parent: Answer = nsfs::parent(&names).map(drop).map_err(Code::from);
    require("NS_GET_PARENT of a UTS namespace", &parent, &refused(Errno::EINVAL))?;
    let owner = inode(&nsfs::owner(&names).during("NS_GET_USERNS")?)?;
    let of_process = inode(&open(inside.pid(), "user")?)?;
    let outer = inode(&open(getpid(), "user")?)?;
    judge(
        "whether the owner is the user namespace of the process, and that of outside",
        &(owner == of_process, owner == outer),
        &(true, false),
        &(true, true),
    )
}

fn probe_owner() -> Result<Probe, Trouble> {
    known("NS_GET_NSTYPE", nsfs::kind(&open(getpid(), "uts")?), &[Errno::ENOTTY], &[])
}

/// A user that no other process belongs to.
const USER: u32 = 4242;

pub(super) const OWNER_UID: Scenario =
    Scenario::new("namespace.owner-uid", "NS_GET_OWNER_UID returns the user that created a user namespace", owner_uid)
        .shows(&["1d", "later-nsfs"], "ioctl_ns(2)")
        .steps(&[
            "The subject becomes user 4242 and calls unshare(CLONE_NEWUSER); the control calls it as root.",
            "Outside: NS_GET_OWNER_UID of the new user namespace must return 4242, or 0 for the control.",
        ])
        .by_means_of("an ordinary user as the creator")
        .needs(&["CONFIG_USER_NS"], 4, 11, 0)
        .probed_by(probe_owner);

fn owner_uid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| {
        if sandbox.applies() {
            become_user(USER)?;
        }
        unshare(CloneFlags::CLONE_NEWUSER).during("unshare(CLONE_NEWUSER)")
    })?;
    let user = nsfs::creator(&open(inside.pid(), "user")?).during("NS_GET_OWNER_UID")?;
    judge("NS_GET_OWNER_UID", &user, &USER, &0)
}

pub(super) const PARENT: Scenario =
    Scenario::new("namespace.parent", "NS_GET_PARENT opens the PID namespace above; the first one has none", parent)
        .shows(&["1d", "later-nsfs", "biederman-7"], "ioctl_ns(2)")
        .steps(&[
            "Inside: a process in a new PID namespace waits.",
            "Outside: NS_GET_PARENT of its PID namespace must open that of outside.",
            "In the control the process is in the initial PID namespace, whose parent nobody may open: EPERM.",
        ])
        .inside(&[Namespace::Pid])
        .needs(&["CONFIG_PID_NS"], 4, 9, 0)
        .probed_by(probe_owner);

fn parent(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let outside = inode(&open(getpid(), "pid")?)?;
    let above = match nsfs::parent(&open(inside.pid(), "pid")?) {
        Ok(file) => Ok(inode(&file)? == outside),
        Err(errno) => Err(Code::from(errno)),
    };
    judge("whether NS_GET_PARENT opens the PID namespace of outside", &above, &Ok(true), &refused(Errno::EPERM))
}
