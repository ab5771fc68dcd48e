//! Which PIDs new processes get: by sequence, by choice of their creator, and up to the namespace's maximum.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid};
use vmlab_protocol::catalogue::Namespace;

use super::super::process::probe_clone3;
use super::support::{become_user, judge, known, read, require, write};
use super::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sandbox::{Answer, Code, During, Sandbox, refused};
use crate::sys::create::Clone3;
use crate::sys::random;

const SOURCE: &str = "clone(2), section The set_tid array";

/// Forks with these PIDs, the first in the innermost namespace; returns the child's PID. The child ends at once and is reaped.
pub(crate) fn fork_as(pids: &[i32]) -> Result<Answer<i32>, Trouble> {
    match (Clone3 { set_tid: pids, ..Clone3::default() }).fork_with(|| 0) {
        Ok((child, _)) => waitpid(child, None).map(|_| Ok(child.as_raw())).during("waitpid(2)"),
        Err(errno) => Ok(Err(Code::from(errno))),
    }
}

/// Whether clone3(2) knows set_tid, Linux 5.5.
pub(crate) fn probe_set_tid() -> Result<Probe, Trouble> {
    probe_clone3()?.and(|| {
        // The PID of a live process. Linux 5.3 and 5.4 refuse the longer arguments.
        let own = [getpid().as_raw()];
        let made = (Clone3 { set_tid: &own, ..Clone3::default() }).fork_with(|| 0);
        known("clone3(set_tid)", made, &[Errno::E2BIG], &[Errno::EEXIST])
    })
}

pub(super) const SET_TID: Scenario =
    Scenario::new("pid.set-tid", "clone3(2) with set_tid gives the child the PID that its creator chooses", set_tid)
        .shows(&["3i", "pid-randomisation", "later-clone3"], SOURCE)
        .steps(&[
            "Inside: the first process calls clone3(2) with set_tid = [4321]; in the control, without set_tid.",
            "The child's PID must be 4321. In the control it is 2, the next in the namespace's sequence.",
        ])
        .inside(&[Namespace::Pid])
        .control_inside(&[Namespace::Pid])
        .by_means_of("clone3(set_tid)")
        .needs(&["CONFIG_PID_NS"], 5, 5, 0)
        .probed_by(probe_set_tid);

fn set_tid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let wanted: &[i32] = if sandbox.applies() { &[4321] } else { &[] };
    let pid = sandbox.run(|| fork_as(wanted))?;
    judge("the child's PID inside", &pid, &Ok(4321), &Ok(2))
}

pub(super) const SET_TID_FIRST: Scenario = Scenario::new(
    "pid.set-tid-first",
    "clone3(2) refuses any PID but 1 for the first process of a PID namespace: EINVAL",
    set_tid_first,
)
.shows(&["3i", "3b", "later-clone3"], SOURCE)
.steps(&[
    "A process calls unshare(CLONE_NEWPID), and clone3(2) with set_tid = [2]; in the control, with [1].",
    "clone3(2) must fail with EINVAL. In the control it succeeds.",
])
.by_means_of("a first PID other than 1")
.needs(&["CONFIG_PID_NS"], 5, 5, 0)
.probed_by(probe_set_tid);

fn set_tid_first(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let first = if sandbox.applies() { 2 } else { 1 };
    let made = Sandbox::none().run(|| {
        unshare(CloneFlags::CLONE_NEWPID).during("unshare(CLONE_NEWPID)")?;
        Ok(fork_as(&[first])?.map(drop))
    })?;
    judge("clone3(set_tid) of the first process", &made, &refused(Errno::EINVAL), &Ok(()))
}

pub(super) const SET_TID_INVALID: Scenario = Scenario::new(
    "pid.set-tid-invalid",
    "clone3(2) refuses a PID that is in use (EEXIST), and one that is too large (EINVAL)",
    set_tid_invalid,
)
.shows(&["3i", "later-clone3"], SOURCE)
.steps(&[
    "Inside: the first process calls clone3(2) with set_tid = [1], which is in use. The call must fail with EEXIST.",
    "It calls clone3(2) with set_tid = [pid_max]. The call must fail with EINVAL.",
    "It calls clone3(2) with three PIDs, which is more than it has PID namespaces. The call must fail with EINVAL.",
    "In the control each of the three asks for one PID that is free, and succeeds.",
])
.inside(&[Namespace::Pid])
.control_inside(&[Namespace::Pid])
.by_means_of("PIDs that cannot be")
.needs(&["CONFIG_PID_NS"], 5, 5, 0)
.probed_by(probe_set_tid);

fn set_tid_invalid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let is_valid = !sandbox.applies();
    let answers = sandbox.run(|| {
        // Since Linux 6.14 each PID namespace has its own.
        let most = read(PID_MAX_FILE)?.parse::<i32>().during("reading pid_max")?;
        let pids: [&[i32]; 3] =
            if is_valid { [&[4321], &[4322], &[4323]] } else { [&[1], &[most], &[4321, 4321, 4321]] };
        let [taken, large, many] = pids;
        Ok([fork_as(taken)?, fork_as(large)?, fork_as(many)?])
    })?;
    judge(
        "clone3(set_tid) inside",
        &answers,
        &[refused(Errno::EEXIST), refused(Errno::EINVAL), refused(Errno::EINVAL)],
        &[Ok(4321), Ok(4322), Ok(4323)],
    )
}

pub(super) const SET_TID_PRIVILEGE: Scenario = Scenario::new(
    "pid.set-tid-privilege",
    "Only a process with capabilities over the PID namespace may choose PIDs: EPERM",
    set_tid_privilege,
)
.shows(&["3i", "later-clone3"], SOURCE)
.steps(&[
    "Inside: the first process becomes user 1000; in the control it stays root.",
    "It calls clone3(2) with set_tid = [4321]. The call must fail with EPERM.",
])
.inside(&[Namespace::Pid])
.control_inside(&[Namespace::Pid])
.by_means_of("setresuid(2)")
.needs(&["CONFIG_PID_NS"], 5, 5, 0)
.probed_by(probe_set_tid);

fn set_tid_privilege(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let is_user = sandbox.applies();
    let pid = sandbox.run(|| {
        if is_user {
            become_user(1000)?;
        }
        fork_as(&[4321])
    })?;
    judge("the child's PID inside", &pid, &refused(Errno::EPERM), &Ok(4321))
}

pub(super) const RANDOM: Scenario = Scenario::new(
    "pid.random",
    "Linux gives PIDs in sequence; random ones need a creator that chooses them by clone3(2)",
    random_pids,
)
.shows(&["pid-randomisation"], SOURCE)
.steps(&[
    "Inside: the first process forks six children, by clone3(2) with set_tid and random PIDs, each smaller than the last.",
    "The children must have these PIDs. In the control, without set_tid, they have the PIDs 2 to 7 in this order.",
])
.inside(&[Namespace::Pid])
.control_inside(&[Namespace::Pid])
.by_means_of("clone3(set_tid)")
.needs(&["CONFIG_PID_NS"], 5, 5, 0)
.probed_by(probe_set_tid);

fn random_pids(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let sequence = [2, 3, 4, 5, 6, 7];
    let wanted = random_order()?;
    let chooses = sandbox.applies();
    let pids = sandbox.run(|| {
        let mut pids = Vec::new();
        for pid in wanted {
            pids.push(fork_as(if chooses { std::slice::from_ref(&pid) } else { &[] })?);
        }
        Ok(pids)
    })?;
    judge("the PIDs of six children inside", &pids, &wanted.map(Ok).to_vec(), &sequence.map(Ok).to_vec())
}

/// Six random PIDs, each smaller than the one before.
fn random_order() -> Result<[i32; 6], Trouble> {
    let bytes: [u8; 6] = random::draw().during("getrandom(2)")?;
    let mut pids = [6, 5, 4, 3, 2, 1];
    for (pid, byte) in pids.iter_mut().zip(bytes) {
        *pid = *pid * 1000 + i32::from(byte);
    }
    Ok(pids)
}

const PID_MAX_FILE: &str = "/proc/sys/kernel/pid_max";

pub(super) const PID_MAX: Scenario =
    Scenario::new("pid.pid-max", "Each PID namespace has a kernel.pid_max of its own", pid_max)
        .shows(&["3i", "version-4"], "Documentation/admin-guide/sysctl/kernel.rst, section pid_max")
        .steps(&[
            "Inside: write 500 to /proc/sys/kernel/pid_max. Outside: read the file.",
            "It must have its old value. Before Linux 6.14 there was one value for the machine, and it is 500 outside.",
        ])
        .inside(&[Namespace::Pid])
        .isolates_since((6, 14, 0), &[])
        .needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 2, 6, 24);

fn pid_max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = read(PID_MAX_FILE)?;
    let _back = Undo::new("kernel.pid_max", || write(PID_MAX_FILE, &before));
    let inside = sandbox.run(|| {
        write(PID_MAX_FILE, "500")?;
        read(PID_MAX_FILE)
    })?;
    require("kernel.pid_max inside", &inside, &"500".to_owned())?;
    judge("kernel.pid_max outside", &read(PID_MAX_FILE)?, &before, &"500".to_owned())
}

pub(super) const SAME_NUMBER: Scenario = Scenario::new(
    "pid.same-number",
    "Two PID namespaces give one PID to two processes: PIDs are no names in a cluster",
    same_number,
)
.shows(&["7c"], "pid_namespaces(7)")
.steps(&[
    "Start two processes, each inside a PID namespace of its own. Both call getpid(2).",
    "Both must get 1. In the control both are in one PID namespace, and get different PIDs.",
    "Linux has no PIDs for a cluster. As two namespaces here, two machines give equal PIDs to different processes.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn same_number(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let start = || sandbox.hold(|| Ok(getpid().as_raw()));
    let (one, other) = (start()?, start()?);
    let pids = (Pid::as_raw(one.pid()), Pid::as_raw(other.pid()));
    judge("getpid(2) in both", &(*one.value(), *other.value()), &(1, 1), &pids)
}
