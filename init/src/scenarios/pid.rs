//! PID namespaces.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::process::exit;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{getpid, getppid};
use vmlab_protocol::catalogue::Namespace;

use super::support::{decide, judge, note, read};
use super::{Finding, Scenario, Trouble};
use crate::sandbox::{Code, During, End, Sandbox, refused};
use crate::sys::process::fork_with;

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&INIT, &KILL_OUTER, &NSPID, &ORPHAN, &PROC, &REBOOT];

const INIT: Scenario =
    Scenario::new("pid.init", "The first process of a PID namespace has PID 1 and parent 0 there", init)
        .shows(&["3b"], "pid_namespaces(7), section The namespace init process")
        .inside(&[Namespace::Pid])
        .needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn init(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok((getpid().as_raw(), getppid().as_raw())))?;
    let outside = (inside.pid().as_raw(), inside.parent().as_raw());
    judge("getpid(2) and getppid(2) inside", inside.value(), &(1, 0), &outside)
}

const KILL_OUTER: Scenario = Scenario::new(
    "pid.kill-outer",
    "A process outside the PID namespace cannot be signalled: kill(2) fails with ESRCH",
    kill_outer,
)
.shows(&["2a"], "pid_namespaces(7)")
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn kill_outer(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = getpid();
    let answer = sandbox.run(|| Ok(kill(outside, None).map_err(Code::from)))?;
    judge(&format!("kill({outside}, 0) inside"), &answer, &refused(Errno::ESRCH), &Ok(()))
}

const NSPID: Scenario =
    Scenario::new("pid.nspid", "NSpid of /proc/PID/status shows a process's PID in each of its namespaces", nspid)
        .shows(&["1c"], "proc_pid_status(5)")
        .inside(&[Namespace::Pid])
        .needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 4, 1, 0);

fn nspid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let pid = inside.pid().as_raw();
    let status = read(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let seen = line.map(|pids| pids.split_whitespace().map(str::parse).collect::<Result<Vec<i32>, _>>());
    judge(&format!("NSpid of /proc/{pid}/status"), &seen, &Some(Ok(vec![pid, 1])), &Some(Ok(vec![pid])))
}

const ORPHAN: Scenario =
    Scenario::new("pid.orphan", "An orphan in a PID namespace becomes a child of the namespace's init", orphan)
        .shows(&["3b"], "pid_namespaces(7), section Adoption of orphaned children")
        .inside(&[Namespace::Pid])
        .needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn orphan(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (parent, own) = sandbox.run(|| Ok((adoptive_parent()?, getpid().as_raw())))?;
    // The agent is a child subreaper (prctl(2)): outside a PID namespace, orphans of legs become its children.
    let reaper = getppid().as_raw();
    judge(
        "the orphan's new parent, and whether it is the first process inside",
        &(parent, parent == own),
        &(1, true),
        &(reaper, false),
    )
}

/// Creates an orphan and returns its new parent.
fn adoptive_parent() -> Result<i32, Trouble> {
    let (mut start, mut starter) = pipe().during("pipe(2)")?;
    let (mut answer, mut answerer) = pipe().during("pipe(2)")?;
    let middle =
        fork_with(|| u8::from(fork_with(|| u8::from(answer_parent(&mut start, &mut answerer).is_err())).is_err()))
            .during("fork(2) inside")?;
    drop(answerer);
    waitpid(middle, None).during("waitpid(2) for the orphan's parent")?;
    starter.write_all(&[0]).during("write(2) to the orphan")?;
    let mut parent = [0; 4];
    answer.read_exact(&mut parent).during("read(2) of the orphan's answer")?;
    Ok(i32::from_ne_bytes(parent))
}

/// The orphan's main function: sends its parent's PID after the first parent has ended.
fn answer_parent(start: &mut PipeReader, answerer: &mut PipeWriter) -> std::io::Result<()> {
    start.read_exact(&mut [0])?;
    answerer.write_all(&getppid().as_raw().to_ne_bytes())
}

const PROC: Scenario =
    Scenario::new("pid.proc", "A procfs mounted in a PID namespace shows that namespace's processes only", proc_list)
        .shows(&["2b"], "pid_namespaces(7), section /proc and PID namespaces")
        .inside(&[Namespace::Mount, Namespace::Pid])
        .needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 2, 6, 24);

fn proc_list(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = getpid().as_raw();
    let inside = sandbox.run(|| {
        let entries = fs::read_dir("/proc").during("opening /proc inside")?;
        let mut pids = Vec::<i32>::new();
        for entry in entries {
            let name = entry.during("reading /proc inside")?.file_name();
            pids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
        }
        Ok(pids)
    })?;
    let found = (inside == [1], inside.contains(&outside));
    decide("processes in /proc inside", &inside, found, format_args!("[1], or among others {outside}"))
}

/// The exit code that stands for EPERM.
const REFUSED: i32 = 3;

const REBOOT: Scenario = Scenario::new(
    "pid.reboot",
    "reboot(2) in a PID namespace kills its init with SIGHUP and leaves the machine running",
    reboot_inside,
)
.shows(&["3g"], "reboot(2), section Behavior inside PID namespaces")
.steps(&[
    "Inside: init of the PID namespace calls reboot(LINUX_REBOOT_CMD_RESTART).",
    "Outside: waitpid(2) must report that SIGHUP has killed this init.",
    "The control is in the user namespace only: there the call is refused with EPERM.",
])
.inside(&[Namespace::User, Namespace::Pid])
// In the initial user namespace the call would restart the machine.
.control_inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_PID_NS"], 3, 8, 0);

fn reboot_inside(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let end = sandbox.end_of(|| {
        let Err(errno) = reboot(RebootMode::RB_AUTOBOOT);
        note(format_args!("reboot(LINUX_REBOOT_CMD_RESTART) inside: {errno}"));
        exit(if errno == Errno::EPERM { REFUSED } else { 1 })
    })?;
    judge("the end of the process that called reboot(2)", &end, &End::killed(Signal::SIGHUP), &End::Exited(REFUSED))
}
