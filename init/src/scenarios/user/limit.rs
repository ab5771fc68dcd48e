//! Limits, priorities and keyrings of users.

use std::ffi::CString;
use std::io::{Read as _, pipe};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::waitpid;
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Answer, Code, During, OUTER_ID, Sandbox, refused};
use crate::scenarios::support::{become_user, judge, known, require, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::privilege::{join_keyring, nice_of_user, open_key, set_nice};
use crate::sys::process::fork_with;

/// A user that no other process belongs to.
const USER: u32 = 4242;

/// Forks a child that ends when this function returns.
fn fork_once() -> Result<Answer, Trouble> {
    let (mut end, ender) = pipe().during("pipe(2)")?;
    let mut ender = Some(ender);
    let child = fork_with(|| {
        ender = None;
        u8::from(end.read(&mut [0]).is_err())
    });
    drop(ender);
    match child {
        Ok(child) => {
            waitpid(child, None).during("waitpid(2)")?;
            Ok(Ok(()))
        }
        Err(errno) => Ok(Err(Code::from(errno))),
    }
}

pub(super) const KEYRING: Scenario =
    Scenario::new("user.keyring", "The name of a session keyring belongs to its user namespace", keyring)
        .shows(&["later-userns"], "keyctl(2), KEYCTL_JOIN_SESSION_KEYRING")
        .steps(&[
            "Outside: user 100000 creates a session keyring with a name and lets others of the same user join it.",
            "Inside: root, which is user 100000 outside, joins a session keyring with this name.",
            "The keyring must be a new one. In the control, user 100000 of the initial user namespace joins the first.",
        ])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS", "CONFIG_KEYS"], 5, 3, 0)
        .probed_by(probe_keys);

fn keyring(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let name = CString::new(format!("vmlab-{}", getpid())).during("naming a keyring")?;
    let first = Sandbox::none().hold(|| {
        become_user(OUTER_ID)?;
        let id = join_keyring(&name).during("keyctl(KEYCTL_JOIN_SESSION_KEYRING)")?;
        open_key(id).during("keyctl(KEYCTL_SETPERM)")?;
        Ok(id)
    })?;
    let joined = sandbox.run(|| {
        if sandbox.namespaces().is_empty() {
            become_user(OUTER_ID)?;
        }
        join_keyring(&name).during("keyctl(KEYCTL_JOIN_SESSION_KEYRING) inside")
    })?;
    judge("whether both processes have joined the same keyring", &(joined == *first.value()), &false, &true)
}

fn probe_keys() -> Result<Probe, Trouble> {
    known("keyctl(2)", join_keyring(c"vmlab-probe"), &[Errno::ENOSYS], &[])
}

pub(super) const NPROC: Scenario =
    Scenario::new("user.nproc", "RLIMIT_NPROC set inside counts only the processes of the user namespace", nproc)
        .shows(&["2g", "later-limits", "version-7"], "user_namespaces(7); kernel/ucount.c")
        .steps(&[
            "Outside: seven processes belong to user 100000.",
            "Inside: root, which is user 100000 outside, sets RLIMIT_NPROC to 3 and forks.",
            "The fork must succeed, because only three processes of this user are in the user namespace.",
            "In the control, and on Linux before 5.14, the seven processes count: EAGAIN.",
        ])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS"], 3, 8, 0)
        .isolates_since((5, 14, 0), &[]);

fn nproc(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const LIMIT: u64 = 3;
    let mut others = Vec::new();
    for _ in 0..7 {
        others.push(Sandbox::none().hold(|| become_user(OUTER_ID))?);
    }
    let forked = sandbox.run(|| {
        if sandbox.namespaces().is_empty() {
            become_user(OUTER_ID)?;
        }
        setrlimit(Resource::RLIMIT_NPROC, LIMIT, LIMIT).during("setrlimit(RLIMIT_NPROC)")?;
        fork_once()
    })?;
    require("processes of the user outside", &others.len(), &7)?;
    judge("fork(2) inside", &forked, &Ok(()), &refused(Errno::EAGAIN))
}

pub(super) const NPROC_OUTER: Scenario = Scenario::new(
    "user.nproc-outer",
    "RLIMIT_NPROC of a user namespace's creator holds inside, whatever limit is set there",
    nproc_outer,
)
.shows(&["2g", "later-limits", "biederman-7"], "user_namespaces(7); kernel/ucount.c, is_rlimit_overlimit")
.steps(&[
    "User 4242 sets the soft limit RLIMIT_NPROC to 1, and calls unshare(CLONE_NEWUSER).",
    "Inside: the process maps itself to root and raises its soft limit to 100.",
    "fork(2) must fail with EAGAIN: the creator's limit still holds for its user in the parent namespace.",
    "The control sets no limit before unshare(2). Before Linux 5.14 the raised limit is the only one.",
])
.by_means_of("RLIMIT_NPROC set before unshare(CLONE_NEWUSER)")
.needs(&["CONFIG_USER_NS"], 3, 8, 0)
.isolates_since((5, 14, 0), &[]);

fn nproc_outer(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const RAISED: u64 = 100;
    let forked = sandbox.run(|| {
        become_user(USER)?;
        set_dumpable(true).during("prctl(PR_SET_DUMPABLE)")?;
        let before = if sandbox.applies() { 1 } else { RAISED };
        setrlimit(Resource::RLIMIT_NPROC, before, RAISED).during("setrlimit(RLIMIT_NPROC)")?;
        unshare(CloneFlags::CLONE_NEWUSER).during("unshare(CLONE_NEWUSER)")?;
        write("/proc/self/uid_map", &format!("0 {USER} 1\n"))?;
        setrlimit(Resource::RLIMIT_NPROC, RAISED, RAISED).during("setrlimit(RLIMIT_NPROC) inside")?;
        fork_once()
    })?;
    judge("fork(2) inside", &forked, &refused(Errno::EAGAIN), &Ok(()))
}

pub(super) const PRIORITY: Scenario = Scenario::new(
    "user.priority",
    "getpriority(PRIO_USER) sees only the user's processes in the caller's PID namespace",
    priority,
)
.shows(&["2g"], "getpriority(2); kernel/sys.c, getpriority: task_pid_vnr")
.steps(&[
    "Outside: a process of user 4242 has the nice value 7.",
    "Inside a PID namespace: getpriority(PRIO_USER, 4242) must fail with ESRCH.",
    "In the control the call returns 7.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn priority(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let _outside = Sandbox::none().hold(|| {
        set_nice(7).during("setpriority(2)")?;
        become_user(USER)
    })?;
    let seen = sandbox.run(|| Ok(nice_of_user(USER).map_err(Code::from)))?;
    judge(&format!("getpriority(PRIO_USER, {USER}) inside"), &seen, &refused(Errno::ESRCH), &Ok(7))
}
