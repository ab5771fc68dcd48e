//! Creating processes with clone3(2).

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, pause};

use super::namespace::inode;
use super::support::{await_input, cgroup_of, decide, field, judge, known, open_namespace, require};
use super::{Finding, Probe, Scenario, Trouble};
use crate::sandbox::cgroup::{self, Cgroup};
use crate::sandbox::{Code, During, Sandbox, WAIT_LIMIT, readable, refused};
use crate::sys::create::{
    AUTOREAP, CLEAR_SIGHAND, Clone3, NEWTIME, NNP, PIDFD_AUTOKILL, errno_without_arguments, legacy_clone,
};
use crate::sys::process::{handle_without_effect, reap_any};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&AUTOKILL, &AUTOREAPED, &CLEAR, &INTO_CGROUP, &NEW_TIME, &NO_NEW_PRIVS];

const SOURCE: &str = "clone(2)";

/// Creates a child, which sleeps until `look` has returned, and is then killed and reaped.
pub(super) fn with_child<T>(how: &Clone3<'_>, look: impl FnOnce(Pid) -> Result<T, Trouble>) -> Result<T, Trouble> {
    let (child, _pidfd) = how.fork_with(sleep).during("clone3(2)")?;
    and_end(child, look(child))
}

fn sleep() -> u8 {
    pause();
    0
}

/// Kills and reaps a child.
pub(super) fn and_end<T>(child: Pid, seen: Result<T, Trouble>) -> Result<T, Trouble> {
    kill(child, Signal::SIGKILL).during("kill(2) of a child")?;
    reap_any(child).during("waitpid(2) for a child")?;
    seen
}

/// The value of a line of /proc/PID/status.
fn status_of(process: Pid, name: &str) -> Result<String, Trouble> {
    field(&format!("/proc/{process}/status"), name)
}

/// Whether the kernel has clone3(2).
pub(super) fn probe_clone3() -> Result<Probe, Trouble> {
    known("clone3(2)", Err::<(), _>(errno_without_arguments()), &[Errno::ENOSYS], &[Errno::EINVAL])
}

/// Whether clone3(2) knows these flags.
fn probe_flags(name: &str, flags: u64) -> Result<Probe, Trouble> {
    let made = Clone3::with(flags).fork_with(|| 0);
    if let Ok((child, _)) = &made
        && flags & AUTOREAP == 0
    {
        reap_any(*child).during("waitpid(2)")?;
    }
    known(&format!("clone3({name})"), made, &[Errno::ENOSYS, Errno::EINVAL], &[])
}

const AUTOKILL: Scenario = Scenario::new(
    "process.autokill",
    "A child created with CLONE_PIDFD_AUTOKILL is killed when its last pidfd is closed",
    autokill,
)
.shows(&["later-clone3", "later-pidfd"], "CLONE_PIDFD_AUTOKILL in include/uapi/linux/sched.h")
.steps(&[
    "Create a child with CLONE_PIDFD_AUTOKILL, CLONE_AUTOREAP and CLONE_NNP, which answers each byte that it reads.",
    "In the control the flag CLONE_PIDFD_AUTOKILL is missing.",
    "Close the pidfd and send the child a byte. It must not answer: the pipe of its answers has only an end of file.",
])
.by_means_of("CLONE_PIDFD_AUTOKILL")
.needs(&[], 7, 1, 0)
.probed_by(|| probe_flags("CLONE_PIDFD_AUTOKILL", AUTOREAP | NNP | PIDFD_AUTOKILL));

fn autokill(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (mut question, mut asker) = pipe().during("pipe(2)")?;
    let (mut answer, mut answerer) = pipe().during("pipe(2)")?;
    let extra = if sandbox.applies() { PIDFD_AUTOKILL } else { 0 };
    let how = Clone3::with(AUTOREAP | NNP | extra);
    let (_, pidfd) = how
        .fork_with(|| match set_pdeathsig(Signal::SIGKILL) {
            // The end of its parent kills the child.
            Ok(()) => answer_once(&mut question, &mut answerer),
            Err(_) => 1,
        })
        .during("clone3(2)")?;
    drop((question, answerer));
    drop(pidfd);
    // EPIPE if the child has already been killed; Rust ignores SIGPIPE.
    let _gone = asker.write_all(&[1]);
    judge("the child's answer after its pidfd is closed", &answer_of(&mut answer)?, &Vec::new(), &vec![2])
}

/// Answers a byte with 2.
pub(super) fn answer_once(question: &mut PipeReader, answerer: &mut PipeWriter) -> u8 {
    let answered = question.read_exact(&mut [0]).and_then(|()| answerer.write_all(&[2]));
    u8::from(answered.is_err())
}

/// What a child has answered: nothing if it has been killed.
pub(super) fn answer_of(answer: &mut PipeReader) -> Result<Vec<u8>, Trouble> {
    await_input("an answer of the child, or its end", answer)?;
    let mut bytes = Vec::new();
    answer.read_to_end(&mut bytes).during("read(2) of the child's answer")?;
    Ok(bytes)
}

const AUTOREAPED: Scenario = Scenario::new(
    "process.autoreap",
    "A child created with CLONE_AUTOREAP leaves no zombie: waitpid(2) fails with ECHILD",
    autoreap,
)
.shows(&["later-clone3", "version-30"], "CLONE_AUTOREAP in include/uapi/linux/sched.h")
.steps(&[
    "Create a child with CLONE_AUTOREAP; in the control, without it. The child ends; its pidfd becomes readable.",
    "waitpid(2) for the child must fail with ECHILD. In the control it returns the child's status.",
])
.by_means_of("CLONE_AUTOREAP")
.needs(&[], 7, 1, 0)
.probed_by(|| probe_flags("CLONE_AUTOREAP", AUTOREAP));

fn autoreap(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let flags = if sandbox.applies() { AUTOREAP } else { 0 };
    let (child, pidfd) = Clone3::with(flags).fork_with(|| 0).during("clone3(2)")?;
    require("whether the child ends", &readable(&pidfd, PollFlags::POLLIN, WAIT_LIMIT)?, &true)?;
    let status = reap_any(child).map(ExitStatus::into_raw).map_err(Code::from);
    judge("waitpid(2) for the ended child", &status, &refused(Errno::ECHILD), &Ok(0))
}

const CLEAR: Scenario = Scenario::new(
    "process.clear-sighand",
    "A child created with CLONE_CLEAR_SIGHAND has none of its parent's signal handlers",
    clear_sighand,
)
.shows(&["later-clone3"], SOURCE)
.steps(&[
    "A process installs a handler of SIGUSR1 and creates a child with CLONE_CLEAR_SIGHAND; in the control, without it.",
    "SigCgt of the child's /proc/PID/status must be 0. In the control it equals the parent's.",
])
.by_means_of("CLONE_CLEAR_SIGHAND")
.needs(&[], 5, 5, 0)
.probed_by(|| probe_flags("CLONE_CLEAR_SIGHAND", CLEAR_SIGHAND));

fn clear_sighand(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let flags = if sandbox.applies() { CLEAR_SIGHAND } else { 0 };
    let caught = |process| {
        let mask = status_of(process, "SigCgt:")?;
        u64::from_str_radix(&mask, 16).during(format_args!("reading SigCgt: {mask}"))
    };
    let (parent, child) = sandbox.run(|| {
        handle_without_effect(Signal::SIGUSR1).during("sigaction(2)")?;
        Ok((caught(getpid())?, with_child(&Clone3::with(flags), caught)?))
    })?;
    require("whether the parent handles signals", &(parent != 0), &true)?;
    judge("the signals that the child handles", &child, &0, &parent)
}

const INTO_CGROUP: Scenario = Scenario::new(
    "process.into-cgroup",
    "A child created with CLONE_INTO_CGROUP is in the chosen cgroup from its first moment",
    into_cgroup,
)
.shows(&["later-clone3"], SOURCE)
.steps(&[
    "Create a cgroup, open its directory, and create a child with CLONE_INTO_CGROUP and this directory.",
    "The child's /proc/PID/cgroup must name this cgroup. In the control, without the flag, it names the parent's.",
])
.by_means_of("CLONE_INTO_CGROUP")
.needs(&["CONFIG_CGROUPS"], 5, 7, 0)
.probed_by(probe_into_cgroup);

fn into_cgroup(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(&[])?;
    let path = cgroup.path();
    let dir = open_cgroup(&path)?;
    let chosen = sandbox.applies().then(|| dir.as_fd());
    let child = with_child(&Clone3 { cgroup: chosen, ..Clone3::default() }, cgroup_of)?;
    judge("the child's cgroup", &child, &path, &cgroup_of(getpid())?)
}

fn open_cgroup(path: &str) -> Result<File, Trouble> {
    File::open(format!("/sys/fs/cgroup{path}")).during(format_args!("opening the cgroup {path}"))
}

fn probe_into_cgroup() -> Result<Probe, Trouble> {
    cgroup::probe(&[])?.and(probe_clone3)?.and(|| {
        let root = open_cgroup("")?;
        let made = Clone3 { cgroup: Some(root.as_fd()), ..Clone3::default() }.fork_with(|| 0);
        if let Ok((child, _)) = &made {
            reap_any(*child).during("waitpid(2)")?;
        }
        known("clone3(CLONE_INTO_CGROUP)", made, &[Errno::E2BIG, Errno::EINVAL], &[])
    })
}

const NEW_TIME: Scenario = Scenario::new(
    "process.new-time",
    "clone3(2) can create a time namespace, where clone(2) takes the flag for an exit signal",
    new_time,
)
.shows(&["biederman-2", "1b", "later-clone3"], "clone(2), section The flags mask, and time_namespaces(7)")
.steps(&[
    "Create a child by clone3(2) with CLONE_NEWTIME (0x80); in the control, by clone(2) with the same flag.",
    "/proc/PID/ns/time of the child must differ from the parent's. In the control it is the same.",
    "Newer kernels refuse the clone(2) of the control with EINVAL, because 0x80 is no signal.",
])
.by_means_of("clone3(2)")
.needs(&["CONFIG_TIME_NS"], 5, 6, 0)
.probed_by(|| probe_flags("CLONE_NEWTIME", NEWTIME));

fn new_time(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let time = |process| inode(&open_namespace(process, "time")?);
    let own = time(getpid())?;
    let is_new = if sandbox.applies() {
        Ok(with_child(&Clone3::with(NEWTIME), time)? != own)
    } else {
        match legacy_clone(NEWTIME, sleep) {
            Ok(child) => Ok(and_end(child, time(child))? != own),
            Err(errno) => Err(Code::from(errno)),
        }
    };
    let leaked = is_new == Ok(false) || is_new == refused(Errno::EINVAL);
    decide(
        "whether the child is in a new time namespace",
        &is_new,
        (is_new == Ok(true), leaked),
        "yes, or no, or EINVAL",
    )
}

const NO_NEW_PRIVS: Scenario = Scenario::new(
    "process.no-new-privs",
    "A child created with CLONE_NNP can gain no privileges by execve(2)",
    no_new_privs,
)
.shows(&["later-clone3"], "CLONE_NNP in include/uapi/linux/sched.h")
.steps(&[
    "Create a child with CLONE_NNP; in the control, without it.",
    "NoNewPrivs of the child's /proc/PID/status must be 1. In the control it is 0.",
])
.by_means_of("CLONE_NNP")
.needs(&[], 7, 1, 0)
.probed_by(|| probe_flags("CLONE_NNP", NNP));

fn no_new_privs(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let flags = if sandbox.applies() { NNP } else { 0 };
    let how = Clone3::with(flags);
    let value = with_child(&how, |child| status_of(child, "NoNewPrivs:"))?;
    judge("NoNewPrivs of the child", &value, &"1".to_owned(), &"0".to_owned())
}
