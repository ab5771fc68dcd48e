//! The system calls that create namespaces.

use nix::errno::Errno;
use nix::libc;
use nix::sched::unshare;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};
use vmlab_protocol::catalogue::Namespace;

use super::identity::probe_types;
use super::{bits, flag, inode, open};
use crate::sandbox::{Answer, Code, During, Sandbox, refused};
use crate::scenarios::process::probe_clone3;
use crate::scenarios::support::judge;
use crate::scenarios::{Finding, Scenario, Trouble};
use crate::sys::create::{Clone3, add_idle_thread, clone_and_end, legacy_clone};
use crate::sys::process::fork_with;

/// A function for a child: returns 1 if its namespace is another one than the caller's, and 0 if it is the same.
fn is_new(link: &'static str) -> Result<impl FnOnce() -> u8, Trouble> {
    let before = inode(&open(getpid(), link)?)?;
    Ok(move || open(getpid(), link).and_then(|file| inode(&file)).map_or(2, |after| u8::from(after != before)))
}

/// Reaps a child of [`is_new`], also if its end sends no SIGCHLD.
fn end_of(child: Pid) -> Result<bool, Trouble> {
    match waitpid(child, Some(WaitPidFlag::__WALL)).during("waitpid(2)")? {
        WaitStatus::Exited(_, 0) => Ok(false),
        WaitStatus::Exited(_, 1) => Ok(true),
        other => Err(Trouble::new(format_args!("the child could not read its namespace: {other:?}"))),
    }
}

pub(super) const CLONE_PARENT: Scenario = Scenario::new(
    "namespace.clone-parent",
    "The init of a PID namespace cannot create siblings: CLONE_PARENT fails with EINVAL",
    clone_parent,
)
.shows(&["1b", "3b"], "clone(2), CLONE_PARENT; kernel/fork.c, copy_process")
.steps(&[
    "Inside: init of a new PID namespace calls clone(2) with CLONE_PARENT and CLONE_NEWUSER: EINVAL.",
    "The control's process is no init, and the call succeeds: it is not CLONE_NEWUSER that forbids CLONE_PARENT.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_USER_NS"], 3, 8, 0);

fn clone_parent(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let parent = u64::from(libc::CLONE_PARENT.cast_unsigned());
    // The child is the keeper's, whose end the kernel reaps with it.
    let created: Answer = sandbox.run(|| {
        let child = clone_and_end(bits(Namespace::User) | parent);
        Ok(child.map(drop).map_err(Code::from))
    })?;
    judge("clone(CLONE_NEWUSER | CLONE_PARENT) inside", &created, &refused(Errno::EINVAL), &Ok(()))
}

/// Pairs of a flag that creates a namespace and flags that contradict it.
fn contradictions() -> [(&'static str, u64, u64); 5] {
    let flag = |bits: libc::c_int| u64::from(bits.cast_unsigned());
    let thread = flag(libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM);
    [
        ("CLONE_NEWNS with CLONE_FS", bits(Namespace::Mount), flag(libc::CLONE_FS)),
        ("CLONE_NEWUSER with CLONE_FS", bits(Namespace::User), flag(libc::CLONE_FS)),
        ("CLONE_NEWPID with CLONE_THREAD", bits(Namespace::Pid), thread),
        ("CLONE_NEWIPC with CLONE_SYSVSEM", bits(Namespace::Ipc), flag(libc::CLONE_SYSVSEM)),
        ("CLONE_NEWUSER with CLONE_THREAD", bits(Namespace::User), thread),
    ]
}

/// A bit that no flag of clone3(2) has.
const UNKNOWN: u64 = 1 << 40;

pub(super) const FLAGS: Scenario = Scenario::new(
    "namespace.flags",
    "clone(2) refuses a new namespace together with the sharing of what depends on it",
    flags,
)
.shows(&["1b", "biederman-2"], "clone(2), section ERRORS")
.steps(&[
    "clone(2) with CLONE_NEWNS or CLONE_NEWUSER and CLONE_FS must fail with EINVAL.",
    "So must CLONE_NEWPID with CLONE_THREAD, CLONE_NEWUSER with CLONE_THREAD, CLONE_NEWIPC with CLONE_SYSVSEM.",
    "clone3(2) with the unknown flag 1 << 40 must fail with EINVAL.",
    "The control leaves out the second flag of each pair, and all calls succeed.",
])
.by_means_of("flags that contradict each other")
.needs(&["CONFIG_USER_NS", "CONFIG_PID_NS", "CONFIG_IPC_NS"], 5, 3, 0)
.probed_by(probe_types);

fn flags(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let answers = sandbox.run(|| {
        let mut answers: Vec<(String, Answer)> = Vec::new();
        for (name, namespace, other) in contradictions() {
            let flags = if sandbox.applies() { namespace | other } else { namespace };
            answers.push((name.to_owned(), ended(clone_and_end(flags))?));
        }
        let unknown = if sandbox.applies() { UNKNOWN } else { 0 };
        answers.push((
            "an unknown flag".to_owned(),
            ended(Clone3::with(unknown).fork_with(|| 0).map(|(child, _)| child))?,
        ));
        Ok(answers)
    })?;
    let all = |answer: Answer| -> Vec<(String, Answer)> {
        let names = contradictions().map(|(name, ..)| name);
        names.into_iter().chain(["an unknown flag"]).map(|name| (name.to_owned(), answer)).collect()
    };
    judge("clone with contradictory flags", &answers, &all(refused(Errno::EINVAL)), &all(Ok(())))
}

/// Reaps the child, if there is one.
fn ended(child: nix::Result<Pid>) -> Result<Answer, Trouble> {
    match child {
        Ok(child) => waitpid(child, Some(WaitPidFlag::__WALL)).map(|_| Ok(())).during("waitpid(2)"),
        Err(errno) => Ok(Err(Code::from(errno))),
    }
}

pub(super) const THREADS: Scenario = Scenario::new(
    "namespace.threads",
    "A thread may leave the other namespaces of its process, but not its user namespace",
    threads,
)
.shows(&["1b", "biederman-2"], "unshare(2), CLONE_NEWUSER; kernel/fork.c, check_unshare_flags")
.steps(&[
    "The subject's process starts a second thread.",
    "unshare(2) of the mount, UTS, time and PID namespace must succeed.",
    "unshare(CLONE_NEWUSER) must fail with EINVAL. In the control, with one thread, it succeeds.",
])
.by_means_of("a second thread")
.needs(&["CONFIG_USER_NS", "CONFIG_UTS_NS", "CONFIG_TIME_NS", "CONFIG_PID_NS"], 5, 6, 0)
.probed_by(probe_types);

fn threads(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let answers: (Vec<Answer>, Answer) = sandbox.run(|| {
        if sandbox.applies() {
            add_idle_thread().during("clone(CLONE_THREAD)")?;
        }
        let leave = |namespace| unshare(flag(namespace)).map_err(Code::from);
        let others = [Namespace::Mount, Namespace::Uts, Namespace::Time, Namespace::Pid].map(leave);
        Ok((others.to_vec(), leave(Namespace::User)))
    })?;
    let with = |user| (vec![Ok(()); 4], user);
    judge(
        "unshare(2) of four namespaces, and of the user namespace",
        &answers,
        &with(refused(Errno::EINVAL)),
        &with(Ok(())),
    )
}

pub(super) const WAYS: Scenario = Scenario::new(
    "namespace.four-ways",
    "clone(2), clone3(2), unshare(2) and setns(2) all put a process into another namespace",
    ways,
)
.shows(&["biederman-2", "1b"], "namespaces(7), section The namespaces API")
.steps(&[
    "clone(2), clone3(2) and unshare(2) with CLONE_NEWUTS: /proc/self/ns/uts of the child must differ from the parent's.",
    "setns(2) to the UTS namespace of another process: the child's link must differ as well.",
    "The control passes no flag, and its other process is in the same namespace: no link differs.",
])
.by_means_of("CLONE_NEWUTS")
.needs(&["CONFIG_UTS_NS"], 5, 3, 0)
.probed_by(probe_clone3);

fn ways(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let flags = if sandbox.applies() { bits(Namespace::Uts) } else { 0 };
    let sigchld = u64::from(libc::SIGCHLD.cast_unsigned());
    let other: Sandbox =
        if sandbox.applies() { Sandbox::none().with_namespaces(&[Namespace::Uts]) } else { Sandbox::none() };
    let other = other.hold(|| Ok(()))?;
    let target = open(other.pid(), "uts")?;
    let answers = sandbox.run(|| {
        let look = || is_new("uts");
        let cloned = end_of(legacy_clone(flags | sigchld, look()?).during("clone(2)")?)?;
        let (cloned3, _) = Clone3::with(flags).fork_with(look()?).during("clone3(2)")?;
        let cloned3 = end_of(cloned3)?;
        let (after_unshare, after_setns) = (look()?, look()?);
        let unshared = fork_with(|| {
            let made = if flags == 0 { Ok(()) } else { unshare(flag(Namespace::Uts)) };
            made.map_or(2, |()| after_unshare())
        });
        let entered = fork_with(|| nix::sched::setns(&target, flag(Namespace::Uts)).map_or(2, |()| after_setns()));
        Ok((cloned, cloned3, end_of(unshared.during("fork(2)")?)?, end_of(entered.during("fork(2)")?)?))
    })?;
    let all = |new| (new, new, new, new);
    judge("whether the namespace is a new one: clone, clone3, unshare, setns", &answers, &all(true), &all(false))
}
