//! What can be seen and controlled from outside a namespace.

use nix::sched::setns;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Pid, gethostname, getpid, sethostname};
use vmlab_protocol::catalogue::Namespace;

use nix::errno::Errno;

use super::{flag, open};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{Answer, Code, During, Sandbox, refused};
use crate::scenarios::support::{Scratch, cgroup_of, exists, field, judge, mount_tmpfs, require, write};
use crate::scenarios::{Finding, Scenario, Trouble, Undo};
use crate::sys::privilege::limit_files;

pub(super) const CGROUP: Scenario = Scenario::new(
    "namespace.cgroup-outside",
    "A process in a cgroup namespace is moved to another cgroup from outside, above its root",
    cgroup_from_outside,
)
.shows(&["biederman-5", "biederman-4"], "cgroup_namespaces(7)")
.steps(&[
    "Inside: a process waits in a cgroup, which is the root of its cgroup namespace.",
    "Outside: writes its PID to cgroup.procs of a sibling; /proc/PID/cgroup shows the sibling.",
    "A process that enters the cgroup namespace must see the sibling above the root: /../NAME.",
    "In the control it sees /NAME.",
])
.inside(&[Namespace::Cgroup])
.in_cgroup(&[])
.needs(&["CONFIG_CGROUPS", "CONFIG_NAMESPACES"], 4, 6, 0);

fn cgroup_from_outside(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let sibling = Cgroup::create(&[])?;
    let inside = sandbox.hold(|| Ok(()))?;
    let pid = inside.pid();
    write(format!("/sys/fs/cgroup{}/cgroup.procs", sibling.path()), &pid.to_string())?;
    require("the cgroup of the process, seen outside", &cgroup_of(pid)?, &sibling.path())?;
    let seen = Sandbox::none().run(|| {
        setns(open(pid, "cgroup")?, flag(Namespace::Cgroup)).during("setns(2)")?;
        cgroup_of(pid)
    })?;
    judge("the cgroup of the process, seen inside", &seen, &format!("/..{}", sibling.path()), &sibling.path())
}

pub(super) const PRLIMIT: Scenario = Scenario::new(
    "namespace.prlimit",
    "prlimit(2) sets limits of a process in a PID namespace from outside, but not outwards",
    prlimit,
)
.shows(&["biederman-5", "4d"], "prlimit(2)")
.steps(&[
    "Inside: a process in a new PID namespace calls prlimit(2) for a process outside: ESRCH.",
    "Outside: prlimit(2) sets RLIMIT_NOFILE of that process, and /proc/PID/limits shows the new limit.",
    "In the control the call from inside succeeds as well.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 2, 6, 36);

fn prlimit(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const LIMIT: u64 = 77;
    let outside = getpid();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).during("getrlimit(2)")?;
    let inside = sandbox.hold(|| Ok::<Answer, Trouble>(limit_files(outside, soft, hard).map_err(Code::from)))?;
    limit_files(inside.pid(), LIMIT, LIMIT).during("prlimit(2) from outside")?;
    require("RLIMIT_NOFILE inside, set from outside", &limit_of_files(inside.pid())?, &Some(LIMIT))?;
    judge("prlimit(2) from inside for a process outside", inside.value(), &refused(Errno::ESRCH), &Ok(()))
}

/// The soft limit in /proc/PID/limits.
fn limit_of_files(process: Pid) -> Result<Option<u64>, Trouble> {
    let limits = field(&format!("/proc/{process}/limits"), "Max open files")?;
    Ok(limits.split_whitespace().next().and_then(|number| number.parse().ok()))
}

pub(super) const ROOT_LINK: Scenario = Scenario::new(
    "namespace.root-link",
    "/proc/PID/root shows the mounts of a process in another mount namespace",
    root_link,
)
.shows(&["biederman-5", "private-namespaces"], "proc_pid_root(5)")
.steps(&[
    "Inside a mount namespace: mounts a tmpfs and writes a file to it.",
    "Outside: the file must be at /proc/PID/root/..., and not at its path.",
    "In the control it is at both.",
])
.inside(&[Namespace::Mount])
.needs(&["CONFIG_PROC_FS"], 2, 6, 12);

fn root_link(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let file = scratch.join("file");
    let inside = sandbox.hold(|| {
        mount_tmpfs(scratch.path())?;
        write(&file, "inside")
    })?;
    let below = format!("/proc/{}/root{}", inside.pid(), file.display());
    judge(
        "whether the file is below /proc/PID/root, and at its path",
        &(exists(below.as_ref())?, exists(&file)?),
        &(true, false),
        &(true, true),
    )
}

pub(super) const SET_HOSTNAME: Scenario = Scenario::new(
    "namespace.set-hostname",
    "setns(2) and sethostname(2) set the host name of a running UTS namespace from outside",
    set_hostname,
)
.shows(&["biederman-5", "1b", "3a"], "setns(2), uts_namespaces(7)")
.steps(&[
    "Inside: a process in a new UTS namespace waits.",
    "Outside: another process opens /proc/PID/ns/uts, calls setns(2) and sethostname(2).",
    "A third process that enters the namespace must see the new name.",
    "The host name outside must stay. In the control it is the new one.",
])
.inside(&[Namespace::Uts])
.needs(&["CONFIG_UTS_NS", "CONFIG_PROC_FS"], 3, 0, 0);

fn set_hostname(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const NAME: &str = "vmlab-set";
    let before = gethostname().during("gethostname(2)")?;
    let _back = Undo::new("the host name", || sethostname(&before).during("sethostname(2)"));
    let name = || Ok::<String, Trouble>(gethostname().during("gethostname(2)")?.to_string_lossy().into_owned());
    let inside = sandbox.hold(|| Ok(()))?;
    let enter = || setns(open(inside.pid(), "uts")?, flag(Namespace::Uts)).during("setns(2)");
    Sandbox::none().run(|| {
        enter()?;
        sethostname(NAME).during("sethostname(2)")
    })?;
    let seen = Sandbox::none().run(|| {
        enter()?;
        name()
    })?;
    require("the host name inside", &seen.as_str(), &NAME)?;
    judge("the host name outside", &name()?, &before.to_string_lossy().into_owned(), &NAME.to_owned())
}
