//! Who learns of mounts and mount namespaces: fanotify(7) and `ioctl_nsfs(2)`.

use std::fs::File;
use std::io::{ErrorKind, Read as _};

use nix::errno::Errno;
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{During, Sandbox};
use crate::scenarios::support::{Scratch, judge, known, mount_tmpfs, open_namespace};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::nsfs::mount_namespace_id;
use crate::sys::statmount::{mount_events, next_mount_namespace, watch_mounts};

pub(super) const EVENTS: Scenario = Scenario::new(
    "mount.events",
    "A fanotify group that watches the mounts of a namespace sees none that is made in another",
    events,
)
.shows(&["later-statmount"], "fanotify_init(2), FAN_REPORT_MNT; fanotify_mark(2), FAN_MARK_MNTNS")
.steps(&[
    "Outside: fanotify_init(FAN_REPORT_MNT) makes a group, and fanotify_mark(FAN_MARK_MNTNS) has it watch the namespace.",
    "Inside: mount(2) mounts a tmpfs.",
    "Outside: read(2) of the group must report no event. In the control it reports one.",
])
.inside(&[Namespace::Mount])
.needs(&["CONFIG_FANOTIFY"], 6, 14, 0)
.probed_by(probe_events);

fn events(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let group = mount_events().during("fanotify_init(FAN_REPORT_MNT)")?;
    let own = open_namespace(getpid(), "mnt")?;
    watch_mounts(&group, &own).during("fanotify_mark(FAN_MARK_MNTNS)")?;
    sandbox.run(|| mount_tmpfs(scratch.path()))?;
    let has_event = match File::from(group).read(&mut [0; 4096]) {
        Ok(len) => len > 0,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => return Err(error).during("read(2) of the fanotify group"),
    };
    judge("whether the mount inside is reported outside", &has_event, &false, &true)
}

fn probe_events() -> Result<Probe, Trouble> {
    known("fanotify_init(FAN_REPORT_MNT)", mount_events(), &[Errno::ENOSYS, Errno::EINVAL], &[])
}

pub(super) const NAMESPACES: Scenario =
    Scenario::new("mount.next-namespace", "NS_MNT_GET_NEXT finds the mount namespace of another process", namespaces)
        .shows(&["later-statmount"], "ioctl_nsfs(2), NS_MNT_GET_NEXT")
        .steps(&[
            "Inside: a process waits.",
            "Outside: ioctl(NS_MNT_GET_NEXT) goes from the own mount namespace to all later ones.",
            "Outside: the namespace of the process must be among them. In the control it is the own one.",
        ])
        .inside(&[Namespace::Mount])
        .needs(&[], 6, 12, 0)
        .probed_by(probe_namespaces);

fn namespaces(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let file = open_namespace(inside.pid(), "mnt")?;
    let id = mount_namespace_id(&file).during("ioctl(NS_GET_MNTNS_ID)")?;
    let mut namespace = open_namespace(getpid(), "mnt")?;
    let is_found = loop {
        match next_mount_namespace(&namespace) {
            Ok(next) => namespace = File::from(next),
            Err(Errno::ENOENT) => break false,
            Err(errno) => return Err(errno).during("ioctl(NS_MNT_GET_NEXT)"),
        }
        if mount_namespace_id(&namespace).during("ioctl(NS_GET_MNTNS_ID)")? == id {
            break true;
        }
    };
    judge("whether the namespace inside is among the later ones", &is_found, &true, &false)
}

fn probe_namespaces() -> Result<Probe, Trouble> {
    let own = open_namespace(getpid(), "mnt")?;
    known("ioctl(NS_MNT_GET_NEXT)", next_mount_namespace(&own), &[Errno::ENOTTY], &[Errno::ENOENT])
}
