//! The first process of a PID namespace, its init.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::process::exit;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid, getppid};
use vmlab_protocol::catalogue::Namespace;

use super::super::process::{answer_of, answer_once};
use super::support::{judge, open_namespace};
use super::{Finding, Scenario, Trouble};
use crate::sandbox::{Code, During, End, Sandbox, refused};
use crate::sys::process::{default_action, fork_with};

pub(super) const INIT: Scenario =
    Scenario::new("pid.init", "The first process of a PID namespace has PID 1 and parent 0 there", init)
        .shows(&["3b", "pid-randomisation"], "pid_namespaces(7), section The namespace init process")
        .steps(&[
            "Inside: the first process calls getpid(2) and getppid(2).",
            "They must return 1 and 0, and not the PIDs that the process and its parent have outside.",
        ])
        .inside(&[Namespace::Pid])
        .needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn init(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok((getpid().as_raw(), getppid().as_raw())))?;
    let outside = (inside.pid().as_raw(), inside.parent().as_raw());
    judge("getpid(2) and getppid(2) inside", inside.value(), &(1, 0), &outside)
}

pub(super) const INIT_END: Scenario =
    Scenario::new("pid.init-end", "The end of a PID namespace's init kills all processes of the namespace", init_end)
        .shows(&["2a", "3b"], "pid_namespaces(7), section The namespace init process")
        .steps(&[
            "Inside: the first process forks a child, which answers a byte that it reads.",
            "Outside: kill and reap the first process. Send the child a byte.",
            "It must not answer: the pipe of its answers has only an end of file. In the control the orphan answers.",
        ])
        .inside(&[Namespace::Pid])
        .needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn init_end(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (mut question, asker) = pipe().during("pipe(2)")?;
    let (mut answer, mut answerer) = pipe().during("pipe(2)")?;
    let mut asker = Some(asker);
    let inside = sandbox.hold(|| {
        // Without a writer, the end of the trial is an end of file for the child.
        asker = None;
        let child = fork_with(|| answer_once(&mut question, &mut answerer));
        child.map(Pid::as_raw).during("fork(2) inside")
    })?;
    drop((question, answerer));
    drop(inside);
    if let Some(mut asker) = asker {
        // EPIPE if the child has been killed; Rust ignores SIGPIPE.
        let _gone = asker.write_all(&[1]);
    }
    judge("the child's answer after the end of its parent", &answer_of(&mut answer)?, &Vec::new(), &vec![2])
}

pub(super) const INIT_EXIT: Scenario = Scenario::new(
    "pid.init-exit",
    "A PID namespace whose init has ended takes no new process: fork(2) fails with ENOMEM",
    init_exit,
)
.shows(&["2a"], "pid_namespaces(7), section The namespace init process")
.steps(&[
    "Outside: open /proc/PID/ns/pid of a process inside, which is the namespace's init, and kill this process.",
    "Another process enters the namespace by setns(2) and calls fork(2).",
    "fork(2) must fail with ENOMEM. In the control the namespace is the initial one, and its init lives.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 3, 8, 0);

fn init_exit(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let namespace = open_namespace(inside.pid(), "pid")?;
    drop(inside);
    let answer = Sandbox::none().run(|| {
        setns(&namespace, CloneFlags::CLONE_NEWPID).during("setns(2)")?;
        match fork_with(|| 0) {
            Ok(child) => waitpid(child, None).map(|_| Ok(())).during("waitpid(2)"),
            Err(errno) => Ok(Err(Code::from(errno))),
        }
    })?;
    judge("fork(2) into the namespace after its init has ended", &answer, &refused(Errno::ENOMEM), &Ok(()))
}

/// The exit code of a process that two signals did not kill.
const ALIVE: i32 = 4;

pub(super) const INIT_SIGNALS: Scenario = Scenario::new(
    "pid.init-signals",
    "SIGKILL and SIGTERM from inside do not kill the init of a PID namespace",
    init_signals,
)
.shows(&["2a"], "pid_namespaces(7), section The namespace init process")
.steps(&[
    "Inside: the first process forks a child. The child sends SIGKILL to its parent; kill(2) must return 0.",
    "The first process must live on. The same is done with SIGTERM, whose action is the default action.",
    "In the control the parent is no init of a namespace, and each of the signals kills it.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 2, 6, 24);

fn init_signals(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let end_by = |signal| {
        sandbox.end_of(|| {
            default_action(Signal::SIGTERM).during("sigaction(2)")?;
            let own = getpid();
            let child = fork_with(|| u8::from(kill(own, signal).is_err())).during("fork(2) inside")?;
            let status = waitpid(child, None).during("waitpid(2) inside")?;
            exit(if End::from_status(status) == Some(End::Exited(0)) { ALIVE } else { 1 })
        })
    };
    let ends = [end_by(Signal::SIGKILL)?, end_by(Signal::SIGTERM)?];
    let killed = [End::killed(Signal::SIGKILL), End::killed(Signal::SIGTERM)];
    judge("the ends of processes that got SIGKILL and SIGTERM", &ends, &[End::Exited(ALIVE); 2], &killed)
}

pub(super) const ORPHAN: Scenario =
    Scenario::new("pid.orphan", "An orphan in a PID namespace becomes a child of the namespace's init", orphan)
        .shows(&["3b"], "pid_namespaces(7), section Adoption of orphaned children")
        .steps(&[
            "Inside: the first process forks a child, which forks an orphan and ends.",
            "The orphan's getppid(2) must return 1, which is the first process inside.",
            "In the control the orphan becomes a child of the subreaper outside.",
        ])
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
