//! setns(2), and how a namespace is named for it.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::{flag, inode, open};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::scenarios::support::{become_user, judge, known};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::pidfd;
use crate::sys::process::fork_with;

/// An ordinary user.
const USER: u32 = 1000;

pub(super) const OPEN_FOREIGN: Scenario = Scenario::new(
    "namespace.open-foreign",
    "An ordinary user cannot open a namespace of another user's process",
    open_foreign,
)
.shows(&["1b", "biederman-3"], "namespaces(7), ptrace(2), section Ptrace access mode checking")
.steps(&["User 1000 opens /proc/1/ns/uts: EACCES.", "In the control root opens it."])
.by_means_of("an ordinary user")
.needs(&["CONFIG_UTS_NS", "CONFIG_PROC_FS"], 3, 0, 0);

fn open_foreign(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let opened: Answer = sandbox.run(|| {
        if sandbox.applies() {
            become_user(USER)?;
        }
        answer("opening a namespace", File::open("/proc/1/ns/uts").map(drop))
    })?;
    judge("open(/proc/1/ns/uts)", &opened, &refused(Errno::EACCES), &Ok(()))
}

pub(super) const SETNS_USER: Scenario = Scenario::new(
    "namespace.setns-user",
    "An ordinary user with an open namespace cannot enter it: setns(2) fails with EPERM",
    setns_user,
)
.shows(&["1b"], "setns(2)")
.steps(&[
    "Outside: root opens the UTS namespace of a process.",
    "User 1000, who has the file descriptor, calls setns(2): EPERM. In the control root calls it.",
])
.by_means_of("an ordinary user")
.needs(&["CONFIG_UTS_NS", "CONFIG_PROC_FS"], 3, 0, 0);

fn setns_user(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let namespace = open(getpid(), "uts")?;
    let entered: Answer = sandbox.run(|| {
        if sandbox.applies() {
            become_user(USER)?;
        }
        Ok(setns(&namespace, flag(Namespace::Uts)).map_err(Code::from))
    })?;
    judge("setns(2) to a UTS namespace", &entered, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const SETNS_OUTER: Scenario = Scenario::new(
    "namespace.setns-outer",
    "Root of a user namespace cannot enter a namespace that belongs to outside",
    setns_outer,
)
.shows(&["1b", "capabilities"], "setns(2)")
.steps(&[
    "Outside: opens the UTS namespace of the leg.",
    "Inside: root of a user namespace, with all capabilities there, calls setns(2): EPERM.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_UTS_NS"], 3, 8, 0);

fn setns_outer(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let namespace = open(getpid(), "uts")?;
    let entered: Answer = sandbox.run(|| Ok(setns(&namespace, flag(Namespace::Uts)).map_err(Code::from)))?;
    judge("setns(2) to the UTS namespace of outside", &entered, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const SETNS_OWN_USER: Scenario = Scenario::new(
    "namespace.setns-own-user",
    "A process cannot enter its own user namespace again: setns(2) fails with EINVAL",
    setns_own_user,
)
.shows(&["1b", "capabilities"], "setns(2); kernel/user_namespace.c, userns_install")
.steps(&[
    "The subject's process calls setns(2) with its own user namespace: EINVAL, or it could regain capabilities.",
    "The control's process enters the user namespace of a process inside.",
])
.by_means_of("the caller's own user namespace")
.needs(&["CONFIG_USER_NS"], 3, 8, 0)
.probed_by(probe_user);

fn setns_own_user(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let other = Sandbox::none().with_namespaces(&[Namespace::User]).hold(|| Ok(()))?;
    let target = if sandbox.applies() { getpid() } else { other.pid() };
    let namespace = open(target, "user")?;
    let entered: Answer = sandbox.run(|| Ok(setns(&namespace, flag(Namespace::User)).map_err(Code::from)))?;
    judge("setns(2) to a user namespace", &entered, &refused(Errno::EINVAL), &Ok(()))
}

fn probe_user() -> Result<Probe, Trouble> {
    Sandbox::none().with_namespaces(&[Namespace::User]).probe()
}

pub(super) const SETNS_PIDFD: Scenario = Scenario::new(
    "namespace.setns-pidfd",
    "setns(2) with a pidfd enters several namespaces of a process at once",
    setns_pidfd,
)
.shows(&["1b", "biederman-3", "later-pidfd"], "setns(2), section fd refers to a PID file descriptor")
.steps(&[
    "Inside: a process in new UTS and IPC namespaces waits.",
    "Outside: another process calls setns(pidfd, CLONE_NEWUTS | CLONE_NEWIPC).",
    "Both of its links in /proc/self/ns must be those of the process inside, which differ from those of outside.",
])
.inside(&[Namespace::Ipc, Namespace::Uts])
.needs(&["CONFIG_IPC_NS", "CONFIG_UTS_NS"], 5, 8, 0)
.probed_by(probe_setns_pidfd);

fn setns_pidfd(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let links = |process| Ok((inode(&open(process, "uts")?)?, inode(&open(process, "ipc")?)?));
    let outside = links(getpid())?;
    let target = links(inside.pid())?;
    let pidfd = pidfd::open(inside.pid(), 0).during("pidfd_open(2)")?;
    let reached = Sandbox::none().run(|| {
        setns(pidfd.as_fd(), flag(Namespace::Uts) | flag(Namespace::Ipc)).during("setns(pidfd)")?;
        links(getpid())
    })?;
    let differ = (reached.0 != outside.0, reached.1 != outside.1);
    judge(
        "whether the target was reached, and whether uts and ipc differ from those of outside",
        &(reached == target, differ),
        &(true, (true, true)),
        &(true, (false, false)),
    )
}

fn probe_setns_pidfd() -> Result<Probe, Trouble> {
    let entered = pidfd::open(getpid(), 0).and_then(|pidfd| setns(pidfd, flag(Namespace::Uts)));
    known("setns(pidfd, CLONE_NEWUTS)", entered, &[Errno::ENOSYS, Errno::EINVAL], &[])
}

pub(super) const PIDFD_IOCTL: Scenario = Scenario::new(
    "namespace.pidfd-ioctl",
    "A pidfd names the namespaces of its process: PIDFD_GET_UTS_NAMESPACE opens one",
    pidfd_ioctl,
)
.shows(&["biederman-3", "later-pidfd", "version-15"], "PIDFD_GET_UTS_NAMESPACE(2const)")
.steps(&[
    "Inside: a process in a new UTS namespace waits.",
    "Outside: ioctl(pidfd, PIDFD_GET_UTS_NAMESPACE) opens a namespace.",
    "It must be that of the process inside, which is another one than that of outside.",
])
.inside(&[Namespace::Uts])
.needs(&["CONFIG_UTS_NS"], 6, 11, 0)
.probed_by(probe_pidfd_ioctl);

fn pidfd_ioctl(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let pidfd = pidfd::open(inside.pid(), 0).during("pidfd_open(2)")?;
    let named = inode(&pidfd::uts_namespace(&pidfd).during("PIDFD_GET_UTS_NAMESPACE")?.into())?;
    let same = named == inode(&open(inside.pid(), "uts")?)?;
    let outer = named == inode(&open(getpid(), "uts")?)?;
    judge("whether it is the namespace inside, and that of outside", &(same, outer), &(true, false), &(true, true))
}

fn probe_pidfd_ioctl() -> Result<Probe, Trouble> {
    let pidfd = pidfd::open(getpid(), 0).during("pidfd_open(2)")?;
    known("PIDFD_GET_UTS_NAMESPACE", pidfd::uts_namespace(&pidfd), &[Errno::ENOTTY], &[])
}

pub(super) const PID_FOR_CHILDREN: Scenario = Scenario::new(
    "namespace.pid-for-children",
    "A PID namespace without an init can be entered, and the first child there becomes its init",
    pid_for_children,
)
.shows(&["1b", "version-23"], "pid_namespaces(7); kernel/pid_namespace.c, pidns_for_children_get")
.steps(&[
    "The subject's first process calls unshare(CLONE_NEWPID) and does not fork.",
    "A second process opens /proc/PID/ns/pid_for_children of the first, calls setns(2) and forks.",
    "The child must have PID 1. Before 7.x the file cannot be opened: ENOENT.",
    "The control's first process does not call unshare(2), and the child is an ordinary one.",
])
.by_means_of("unshare(CLONE_NEWPID)")
.needs(&["CONFIG_PID_NS"], 7, 2, 0)
.probed_by(probe_pid_for_children);

fn pid_for_children(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let first = sandbox.hold(|| {
        if sandbox.applies() { unshare(CloneFlags::CLONE_NEWPID).during("unshare(CLONE_NEWPID)") } else { Ok(()) }
    })?;
    let namespace = open(first.pid(), "pid_for_children")?;
    let is_init = Sandbox::none().run(|| {
        setns(&namespace, CloneFlags::CLONE_NEWPID).during("setns(2)")?;
        let child = fork_with(|| u8::from(getpid().as_raw() == 1)).during("fork(2)")?;
        Ok(waitpid(child, None).during("waitpid(2)")? == WaitStatus::Exited(child, 1))
    })?;
    judge("whether the child is init of its PID namespace", &is_init, &true, &false)
}

fn probe_pid_for_children() -> Result<Probe, Trouble> {
    let path = Path::new("/proc/self/ns/pid_for_children");
    Sandbox::none()
        .run(|| {
            unshare(CloneFlags::CLONE_NEWPID).during("unshare(CLONE_NEWPID)")?;
            answer("opening pid_for_children", File::open(path).map(drop))
        })
        .and_then(|opened| {
            known(
                "open(pid_for_children) of a PID namespace without an init",
                opened.map_err(Code::errno),
                &[Errno::ENOENT],
                &[],
            )
        })
}
