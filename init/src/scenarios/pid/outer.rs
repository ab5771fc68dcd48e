//! What a process may do to processes outside of its PID namespace, or of another user.

use nix::errno::Errno;
use nix::sched::sched_getaffinity;
use nix::sys::prctl::set_dumpable;
use nix::sys::ptrace;
use nix::sys::signal::kill;
use nix::unistd::{Pid, getpid};
use vmlab_protocol::catalogue::Namespace;

use super::support::{become_user, judge, read, write};
use super::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sandbox::{Answer, Code, During, Sandbox, refused};
use crate::sys::pidfd;
use crate::sys::system::query_limit;

pub(super) const CALLS: Scenario = Scenario::new(
    "pid.calls-outer",
    "pidfd_open(2), prlimit(2) and sched_getaffinity(2) do not find processes outside: ESRCH",
    calls,
)
.shows(&["2f"], "pid_namespaces(7)")
.steps(&[
    "Inside: call pidfd_open(2), prlimit(2) and sched_getaffinity(2) with the PID of a process outside.",
    "All three must fail with ESRCH.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 5, 3, 0);

fn calls(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = getpid();
    let answers: [Answer; 3] = sandbox.run(|| {
        let opened = pidfd::open(outside, 0).map(drop);
        let affinity = sched_getaffinity(outside).map(drop);
        Ok([opened, query_limit(outside), affinity].map(|answer| answer.map_err(Code::from)))
    })?;
    let what = format!("pidfd_open, prlimit and sched_getaffinity({outside}) inside");
    judge(&what, &answers, &[refused(Errno::ESRCH); 3], &[Ok(()); 3])
}

pub(super) const KILL_ALL: Scenario =
    Scenario::new("pid.kill-all", "kill(-1) from inside does not find any process outside: ESRCH", kill_all)
        .shows(&["2a"], "kill(2)")
        .steps(&[
            "Inside: the only process calls kill(-1, 0), which checks all processes that it may signal.",
            "The call must fail with ESRCH. In the control it finds the processes outside.",
        ])
        .inside(&[Namespace::Pid])
        .needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn kill_all(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let answer = sandbox.run(|| Ok(kill(Pid::from_raw(-1), None).map_err(Code::from)))?;
    judge("kill(-1, 0) inside", &answer, &refused(Errno::ESRCH), &Ok(()))
}

pub(super) const KILL_OUTER: Scenario = Scenario::new(
    "pid.kill-outer",
    "A process outside the PID namespace cannot be signalled: kill(2) fails with ESRCH",
    kill_outer,
)
.shows(&["2a"], "pid_namespaces(7)")
.steps(&["Inside: call kill(2) with signal 0 and the PID of a process outside.", "The call must fail with ESRCH."])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn kill_outer(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = getpid();
    let answer = sandbox.run(|| Ok(kill(outside, None).map_err(Code::from)))?;
    judge(&format!("kill({outside}, 0) inside"), &answer, &refused(Errno::ESRCH), &Ok(()))
}

pub(super) const PTRACE_OUTER: Scenario = Scenario::new(
    "pid.ptrace-outer",
    "A process outside the PID namespace cannot be traced: ptrace(2) fails with ESRCH",
    ptrace_outer,
)
.shows(&["2f"], "ptrace(2)")
.steps(&[
    "Outside: start a process.",
    "Inside: call ptrace(PTRACE_SEIZE) with its PID outside. The call must fail with ESRCH.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 3, 4, 0);

fn ptrace_outer(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    seize_from(sandbox, Errno::ESRCH)
}

pub(super) const PTRACE_USER: Scenario = Scenario::new(
    "pid.ptrace-user",
    "Root of a user namespace may not trace a process of the outer root: EPERM",
    ptrace_user,
)
.shows(&["2f"], "ptrace(2), section Ptrace access mode checking")
.steps(&[
    "Outside: root starts a process.",
    "Inside: root of the user namespace calls ptrace(PTRACE_SEIZE) with its PID. The call must fail with EPERM.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn ptrace_user(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    seize_from(sandbox, Errno::EPERM)
}

/// Traces a process outside from inside.
fn seize_from(sandbox: &Sandbox, isolated: Errno) -> Result<Finding, Trouble> {
    let outside = Sandbox::none().hold(|| Ok(()))?;
    let answer = sandbox.run(|| Ok(seize(outside.pid())))?;
    judge("ptrace(PTRACE_SEIZE) inside", &answer, &refused(isolated), &Ok(()))
}

/// Begins to trace a process, which does not stop; it is traced until the calling process ends.
fn seize(process: Pid) -> Answer {
    ptrace::seize(process, ptrace::Options::empty()).map_err(Code::from)
}

const YAMA_SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";
/// An ordinary user.
const USER: u32 = 1000;

pub(super) const YAMA: Scenario = Scenario::new(
    "pid.yama",
    "With Yama's ptrace_scope 1, a process may trace its own descendants only: EPERM",
    yama,
)
.shows(&["2f"], "Documentation/admin-guide/LSM/Yama.rst")
.steps(&[
    "Set kernel.yama.ptrace_scope to 1; in the control, to 0.",
    "Start a process of user 1000. Another process of user 1000, which is not its parent, calls ptrace(PTRACE_SEIZE).",
    "The call must fail with EPERM.",
])
.by_means_of("kernel.yama.ptrace_scope=1")
.needs(&["CONFIG_SECURITY_YAMA"], 3, 4, 0)
.probed_by(probe_yama);

fn yama(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = read(YAMA_SCOPE)?;
    let _back = Undo::new("kernel.yama.ptrace_scope", || write(YAMA_SCOPE, &before));
    write(YAMA_SCOPE, if sandbox.applies() { "1" } else { "0" })?;
    let other = sandbox.hold(|| {
        become_user(USER)?;
        // Without this, only CAP_SYS_PTRACE would allow it, whatever Yama says.
        set_dumpable(true).during("prctl(PR_SET_DUMPABLE)")
    })?;
    let answer = sandbox.run(|| {
        become_user(USER)?;
        Ok(seize(other.pid()))
    })?;
    judge("ptrace(PTRACE_SEIZE) of another process of the user", &answer, &refused(Errno::EPERM), &Ok(()))
}

fn probe_yama() -> Result<Probe, Trouble> {
    Ok(match std::fs::exists(YAMA_SCOPE).during(format_args!("stat({YAMA_SCOPE})"))? {
        true => Probe::Available,
        false => Probe::Missing(format!("{YAMA_SCOPE} does not exist")),
    })
}
