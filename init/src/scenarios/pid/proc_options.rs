//! Options of procfs: hidepid, gid, subset and pidns; and who may mount it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getpid, setgid, setgroups, setresuid};
use vmlab_protocol::catalogue::Namespace;

use super::procfs::pids;
use super::support::{Scratch, become_user, decide, judge, known, mount_kind};
use super::{Finding, Probe, Scenario, Trouble};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::sys::mount::{FSCONFIG_CMD_CREATE, fsconfig, fsconfig_string, fsmount, fsopen};

/// Mounts another procfs.
pub(super) fn mount_proc(target: &Path, options: Option<&str>) -> nix::Result<()> {
    mount_kind("proc", target, options)
}

/// Whether the kernel knows an option of procfs. Before Linux 5.8, an unknown option was an error too.
fn probe_option(option: &str) -> Result<Probe, Trouble> {
    let scratch = Scratch::new()?;
    known(&format!("mount(proc, {option})"), mount_proc(scratch.path(), Some(option)), &[Errno::EINVAL], &[])
}

/// An ordinary user.
const USER: u32 = 1000;

pub(super) const HIDEPID: Scenario = Scenario::new(
    "pid.hidepid",
    "A procfs with hidepid=invisible hides the processes of other users: ENOENT",
    hidepid,
)
.shows(&["2b"], "Documentation/filesystems/proc.rst, section Mount options")
.steps(&[
    "Mount a procfs with hidepid=invisible; in the control, with hidepid=off.",
    "Become user 1000, of group 1000 and no other: the option's gid is 0 by default, and its group sees all processes.",
    "Open PID/stat of a process of root. open(2) must fail with ENOENT.",
])
.inside(&[Namespace::Mount])
.control_inside(&[Namespace::Mount])
.by_means_of("hidepid=invisible")
.needs(&["CONFIG_PROC_FS"], 5, 8, 0)
.probed_by(|| probe_option("hidepid=invisible"));

fn hidepid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let option = if sandbox.applies() { "hidepid=invisible" } else { "hidepid=off" };
    let stat = scratch.join(&format!("{}/stat", getpid()));
    let opened = sandbox.run(|| {
        mount_proc(scratch.path(), Some(option)).during("mount(proc)")?;
        become_user(USER)?;
        open(&stat)
    })?;
    judge("open(PID/stat) of a process of root", &opened, &refused(Errno::ENOENT), &Ok(()))
}

fn open(path: &Path) -> Result<Answer, Trouble> {
    Ok(answer("open(2)", File::open(path))?.map(drop))
}

pub(super) const HIDEPID_GROUP: Scenario = Scenario::new(
    "pid.hidepid-group",
    "hidepid=invisible hides nothing from group 0, the default of its option gid=",
    hidepid_group,
)
.shows(&["2b"], "Documentation/filesystems/proc.rst, section Mount options")
.steps(&[
    "Mount a procfs with hidepid=invisible and without gid=.",
    "Become user 1000 and leave group 0 and the supplementary groups; in the control, stay in group 0.",
    "Open PID/stat of a process of root. open(2) must fail with ENOENT.",
])
.inside(&[Namespace::Mount])
.control_inside(&[Namespace::Mount])
.by_means_of("setgid(2)")
.needs(&["CONFIG_PROC_FS"], 5, 8, 0)
.probed_by(|| probe_option("hidepid=invisible"));

fn hidepid_group(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let stat = scratch.join(&format!("{}/stat", getpid()));
    let group = Gid::from_raw(if sandbox.applies() { USER } else { 0 });
    let opened = sandbox.run(|| {
        mount_proc(scratch.path(), Some("hidepid=invisible")).during("mount(proc)")?;
        setgroups(&[]).during("setgroups(2)")?;
        setgid(group).during("setgid(2)")?;
        let user = Uid::from_raw(USER);
        setresuid(user, user, user).during("setresuid(2)")?;
        open(&stat)
    })?;
    judge("open(PID/stat) of a process of root", &opened, &refused(Errno::ENOENT), &Ok(()))
}

pub(super) const SUBSET: Scenario =
    Scenario::new("pid.subset", "A procfs with subset=pid has the directories of processes only", subset)
        .shows(&["2e"], "Documentation/filesystems/proc.rst, section Mount options")
        .steps(&[
            "Mount a procfs with subset=pid; in the control, without the option.",
            "Open its file loadavg. open(2) must fail with ENOENT, while the link self is there.",
        ])
        .inside(&[Namespace::Mount])
        .control_inside(&[Namespace::Mount])
        .by_means_of("subset=pid")
        .needs(&["CONFIG_PROC_FS"], 5, 8, 0)
        .probed_by(|| probe_option("subset=pid"));

fn subset(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let option = sandbox.applies().then_some("subset=pid");
    let seen = sandbox.run(|| {
        mount_proc(scratch.path(), option).during("mount(proc)")?;
        Ok((open(&scratch.join("loadavg"))?, open(&scratch.join("self/stat"))?))
    })?;
    judge("open(loadavg) and open(self/stat)", &seen, &(refused(Errno::ENOENT), Ok(())), &(Ok(()), Ok(())))
}

pub(super) const PROC_MOUNT: Scenario = Scenario::new(
    "pid.proc-mount",
    "Root of a user namespace may mount a procfs, but only one of a PID namespace of its own",
    proc_mount,
)
.shows(&["2e"], "user_namespaces(7), section Effect of capabilities within a user namespace")
.steps(&[
    "Inside: root of the user namespace mounts a procfs of its PID namespace. mount(2) must succeed.",
    "In the control the PID namespace is the initial one, and mount(2) fails with EPERM.",
])
.inside(&[Namespace::User, Namespace::Mount, Namespace::Pid])
.control_inside(&[Namespace::User, Namespace::Mount])
.needs(&["CONFIG_USER_NS", "CONFIG_PID_NS", "CONFIG_PROC_FS"], 3, 8, 0);

fn proc_mount(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let mounted = sandbox.run(|| Ok(mount_proc(scratch.path(), None).map_err(Code::from)))?;
    judge("mount(proc) inside", &mounted, &Ok(()), &refused(Errno::EPERM))
}

pub(super) const PROC_OF: Scenario = Scenario::new(
    "pid.proc-of",
    "fsconfig(2) makes a procfs of a chosen PID namespace, without a process in it",
    proc_of,
)
.shows(&["2e"], "Documentation/filesystems/proc.rst, section Mount options")
.steps(&[
    "Outside: call fsopen(2) for a procfs, and fsconfig(2) with the option pidns=/proc/PID/ns/pid of a process inside.",
    "List its directories that are named by numbers. The list must consist of 1.",
    "In the control the PID namespace is the initial one, and the list names the process that reads it.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 6, 18, 0)
.probed_by(probe_pidns);

fn proc_of(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let own = getpid().as_raw();
    let namespace = CString::new(format!("/proc/{}/ns/pid", inside.pid())).during("the path of the namespace")?;
    let context = context_of(&namespace).during("fsconfig(pidns)")?;
    let root = fsconfig(&context, FSCONFIG_CMD_CREATE).and_then(|()| fsmount(&context, 0)).during("fsmount(2)")?;
    let listed = pids(Path::new(&format!("/proc/self/fd/{}", root.as_raw_fd())))?;
    let found = (listed == [1], listed.contains(&own));
    decide("processes in the procfs", &listed, found, format_args!("[1], or among others {own}"))
}

/// The configuration of a procfs for the PID namespace of this file of /proc/PID/ns.
fn context_of(namespace: &CStr) -> nix::Result<OwnedFd> {
    let context = fsopen(c"proc")?;
    fsconfig_string(&context, c"pidns", namespace)?;
    Ok(context)
}

fn probe_pidns() -> Result<Probe, Trouble> {
    known("fsconfig(pidns)", context_of(c"/proc/self/ns/pid"), &[Errno::EINVAL], &[])
}
