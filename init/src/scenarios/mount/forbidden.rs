//! Which file systems root of a user namespace may mount (`user_namespaces(7)`, section Effect of capabilities within a user
//! namespace).

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use vmlab_protocol::catalogue::Namespace;

use super::directory;
use crate::sandbox::{Answer, Code, Sandbox, refused};
use crate::scenarios::file::probe_file_system;
use crate::scenarios::support::{Scratch, judge, mount_tmpfs, require};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};

const MAN_PAGE: &str = "user_namespaces(7), section Effect of capabilities within a user namespace";
const STEP: &str = "The control has a user and a mount namespace only: there mount(2) fails with EPERM.";
const WITHOUT: &[Namespace] = &[Namespace::User, Namespace::Mount];

pub(super) const FORBIDDEN: Scenario = Scenario::new(
    "mount.user-forbidden",
    "Root of a user namespace may mount tmpfs, but not devtmpfs, debugfs and ext4",
    forbidden,
)
.shows(&["later-locked-mounts"], MAN_PAGE)
.steps(&[
    "Inside: mount(2) of tmpfs, ramfs and devpts succeeds.",
    "Inside: mount(2) of devtmpfs, debugfs, and ext4 from /dev/null must fail with EPERM.",
    "In the control, devtmpfs and debugfs are mounted, and ext4 gets ENOTBLK, because /dev/null is no block device.",
])
.inside(&[Namespace::User, Namespace::Mount])
.control_inside(&[Namespace::Mount])
.needs(&["CONFIG_USER_NS", "CONFIG_DEVTMPFS", "CONFIG_DEBUG_FS", "CONFIG_EXT4_FS"], 3, 8, 0)
.probed_by(probe_forbidden);

fn probe_forbidden() -> Result<Probe, Trouble> {
    for kind in ["devtmpfs", "debugfs", "ext4"] {
        if let missing @ Probe::Missing(_) = probe_file_system(kind)? {
            return Ok(missing);
        }
    }
    Ok(Probe::Available)
}

fn forbidden(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let (allowed, others): ([Answer; 3], [Answer; 3]) = sandbox.run(|| {
        mount_tmpfs(scratch.path())?;
        Ok((
            [try_mount(&scratch, "tmpfs")?, try_mount(&scratch, "ramfs")?, try_mount(&scratch, "devpts")?],
            [try_mount(&scratch, "devtmpfs")?, try_mount(&scratch, "debugfs")?, try_mount(&scratch, "ext4")?],
        ))
    })?;
    require("mount(2) of tmpfs, ramfs and devpts inside", &allowed, &[Ok(()); 3])?;
    let outside = [Ok(()), Ok(()), refused(Errno::ENOTBLK)];
    judge("mount(2) of devtmpfs, debugfs and ext4 inside", &others, &[refused(Errno::EPERM); 3], &outside)
}

pub(super) const CGROUP: Scenario = Scenario::new(
    "mount.user-cgroup2",
    "Root of a user namespace may mount cgroup2 only with a cgroup namespace of its own",
    cgroup,
)
.shows(&["later-locked-mounts"], MAN_PAGE)
.steps(&["Inside: mount(2) of cgroup2 must succeed.", STEP])
.inside(&[Namespace::User, Namespace::Cgroup, Namespace::Mount])
.control_inside(WITHOUT)
.needs(&["CONFIG_USER_NS", "CONFIG_CGROUPS"], 4, 6, 0)
.probed_by(probe_cgroup);

fn probe_cgroup() -> Result<Probe, Trouble> {
    probe_file_system("cgroup2")
}

fn cgroup(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    mountable(sandbox, "cgroup2")
}

pub(super) const MQUEUE: Scenario = Scenario::new(
    "mount.user-mqueue",
    "Root of a user namespace may mount mqueue only with an IPC namespace of its own",
    mqueue,
)
.shows(&["later-locked-mounts"], MAN_PAGE)
.steps(&["Inside: mount(2) of mqueue must succeed.", STEP])
.inside(&[Namespace::User, Namespace::Ipc, Namespace::Mount])
.control_inside(WITHOUT)
.needs(&["CONFIG_USER_NS", "CONFIG_IPC_NS", "CONFIG_POSIX_MQUEUE"], 3, 8, 0)
.probed_by(probe_mqueue);

fn probe_mqueue() -> Result<Probe, Trouble> {
    probe_file_system("mqueue")
}

fn mqueue(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    mountable(sandbox, "mqueue")
}

pub(super) const PROC: Scenario = Scenario::new(
    "mount.user-proc",
    "Root of a user namespace may mount procfs only with a PID namespace of its own",
    proc,
)
.shows(&["2e", "later-locked-mounts"], MAN_PAGE)
.steps(&["Inside: mount(2) of proc must succeed.", STEP])
.inside(&[Namespace::User, Namespace::Mount, Namespace::Pid])
.control_inside(WITHOUT)
.needs(&["CONFIG_USER_NS", "CONFIG_PID_NS", "CONFIG_PROC_FS"], 3, 8, 0);

fn proc(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    mountable(sandbox, "proc")
}

pub(super) const SYSFS: Scenario = Scenario::new(
    "mount.user-sysfs",
    "Root of a user namespace may mount sysfs only with a network namespace of its own",
    sysfs,
)
.shows(&["later-locked-mounts"], MAN_PAGE)
.steps(&["Inside: mount(2) of sysfs must succeed.", STEP])
.inside(&[Namespace::User, Namespace::Mount, Namespace::Net])
.control_inside(WITHOUT)
.needs(&["CONFIG_USER_NS", "CONFIG_NET_NS", "CONFIG_SYSFS"], 3, 8, 0);

fn sysfs(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    mountable(sandbox, "sysfs")
}

/// Mounts a file system that belongs to a namespace.
fn mountable(sandbox: &Sandbox, kind: &'static str) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let answer = sandbox.run(|| {
        mount_tmpfs(scratch.path())?;
        try_mount(&scratch, kind)
    })?;
    judge(&format!("mount({kind}) inside"), &answer, &Ok(()), &refused(Errno::EPERM))
}

/// Mounts a file system on a new directory.
fn try_mount(scratch: &Scratch, kind: &str) -> Result<Answer, Trouble> {
    let target = directory(scratch.path(), kind)?;
    // A less strict mount than those that exist would reveal too much (fs/namespace.c, mount_too_revealing).
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("/dev/null"), &target, Some(kind), flags, None::<&str>).map_err(Code::from))
}
