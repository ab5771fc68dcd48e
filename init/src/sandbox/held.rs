//! The processes of a sandbox: the keeper, the process inside, and their control from outside.

use std::io::{PipeReader, PipeWriter, Write, pipe};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{Pid, getpid, getppid, pause};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vmlab_protocol::catalogue::Namespace;

use super::apply::{Hands, await_byte, die_with_parent, write_id_maps};
use super::cgroup::Cgroup;
use super::placed::{self, Placement};
use super::plan::{Plan, plan};
use super::report::{End, Report, Reports};
use super::{During, Sandbox, Trouble, WAIT_LIMIT, undo};
use crate::sys::process::fork_with;

/// What the process inside does after it has sent its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Exit,
    /// Sleep until killed.
    Stay,
}

/// Code to run inside. Its value is already converted for the pipe.
pub(crate) type Act<'a> = Box<dyn FnOnce() -> Result<Value, Trouble> + 'a>;

/// Converts a function with a typed value to an [`Act`].
pub(crate) fn boxed<'a, T: Serialize>(act: impl FnOnce() -> Result<T, Trouble> + 'a) -> Act<'a> {
    Box::new(|| serde_json::to_value(act()?).during("serialising the answer of the sandbox"))
}

/// Converts the value that came over the pipe back.
///
/// # Errors
/// It is of another type.
pub(crate) fn unboxed<T: DeserializeOwned>(value: Value) -> Result<T, Trouble> {
    serde_json::from_value(value).during("reading the answer of the sandbox")
}

/// A live process inside a sandbox. Dropping the guard kills and reaps the process.
#[derive(Debug)]
pub(crate) struct Held<T> {
    process: Process,
    pid: Pid,
    value: T,
}

impl<T> Held<T> {
    /// # Errors
    /// The process has already ended.
    pub(crate) fn new(process: Process, value: T) -> Result<Self, Trouble> {
        let pid = process.inside.ok_or_else(|| Trouble::new("the process inside the sandbox has ended"))?;
        Ok(Self { process, pid, value })
    }

    /// The value that the code inside returned.
    pub(crate) const fn value(&self) -> &T {
        &self.value
    }

    /// The PID of the process inside, as seen outside.
    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// The PID of that process's parent, as seen outside.
    pub(crate) const fn parent(&self) -> Pid {
        self.process.keeper
    }

    /// The path of the sandbox's cgroup, or `/` for a sandbox without a cgroup.
    pub(crate) fn cgroup(&self) -> String {
        self.process.cgroup.as_ref().map_or_else(|| "/".to_owned(), Cgroup::path)
    }
}

/// The keeper and the process inside, seen from the leg.
#[derive(Debug)]
pub(crate) struct Process {
    keeper: Pid,
    /// The process that a drop must kill: the keeper until it has forked, then the process inside until it may be
    /// reaped.
    inside: Option<Pid>,
    reports: Reports,
    answers: PipeWriter,
    /// The last field, so that the cgroup is removed after the processes have ended.
    cgroup: Option<Cgroup>,
}

impl Process {
    /// Starts the keeper and waits until the process inside exists.
    ///
    /// # Errors
    /// A step of the plan failed.
    pub(crate) fn spawn(sandbox: &Sandbox, then: Then, act: Act<'_>) -> Result<Self, Trouble> {
        let cgroup = sandbox.cgroup.map(Cgroup::create).transpose()?;
        let plan = plan(sandbox.namespaces, !sandbox.clock_offsets.is_empty(), cgroup.is_some());
        let (reader, mut writer) = pipe().during("pipe(2)")?;
        let (mut answers_end, answers) = pipe().during("pipe(2)")?;
        let leg = getpid();
        let keeper = fork_with(|| {
            let hands = Hands {
                cgroup: cgroup.as_ref(),
                clock_offsets: sandbox.clock_offsets,
                reports: &mut writer,
                answers: &mut answers_end,
            };
            keep(leg, &plan, sandbox.watched, hands, then, act)
        })
        .during("fork(2) of a sandbox's keeper")?;
        drop((writer, answers_end));
        let mut process = Self { keeper, inside: Some(keeper), reports: Reports::new(reader), answers, cgroup };
        loop {
            match process.reports.next(WAIT_LIMIT)? {
                Report::NeedIdMaps => {
                    write_id_maps(keeper)?;
                    process.answer()?;
                }
                Report::Inside(pid, new) => {
                    if !sandbox.watched.is_empty() {
                        placed::record(new);
                    }
                    process.inside = Some(Pid::from_raw(pid));
                    return Ok(process);
                }
                Report::Trouble(trouble) => return Err(trouble),
                other => return Err(out_of_turn(&other)),
            }
        }
    }

    /// Waits for the value from inside.
    ///
    /// # Errors
    /// The code inside failed, or its process ended before it sent a value.
    pub(crate) fn value(mut self) -> Result<(Self, Value), Trouble> {
        match self.reports.next(WAIT_LIMIT)? {
            Report::Value(value) => Ok((self, value)),
            Report::Gone => {
                let end = self.reap()?;
                Err(Trouble(format!("the process inside the sandbox ended ({end}) before it answered")))
            }
            Report::Trouble(trouble) => Err(trouble),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Waits until the process inside has ended.
    ///
    /// # Errors
    /// The code inside failed or sent a value.
    pub(crate) fn end(mut self) -> Result<End, Trouble> {
        match self.reports.next(WAIT_LIMIT)? {
            Report::Gone => self.reap(),
            Report::Trouble(trouble) => Err(trouble),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Waits until the process inside has ended with 0.
    ///
    /// # Errors
    /// It has ended in another way.
    pub(crate) fn end_well(self) -> Result<(), Trouble> {
        match self.end()? {
            End::Exited(0) => Ok(()),
            end => Err(Trouble(format!("the process inside the sandbox ended with an error ({end}) after its answer"))),
        }
    }

    /// Lets the keeper reap the ended process inside; returns how it ended.
    fn reap(&mut self) -> Result<End, Trouble> {
        self.inside = None;
        self.answer()?;
        match self.reports.next(WAIT_LIMIT)? {
            Report::Ended(end) => Ok(end),
            Report::Trouble(trouble) => Err(trouble),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Sends the byte that the keeper waits for.
    fn answer(&mut self) -> Result<(), Trouble> {
        self.answers.write_all(&[0]).during("write(2) to a sandbox's keeper")
    }

    fn kill_and_reap(&mut self) -> Result<(), Trouble> {
        // The keeper reaps the process inside only after an answer, so until then the PID cannot belong to another
        // process.
        if let Some(pid) = self.inside {
            kill(pid, Signal::SIGKILL).during(format_args!("kill({pid}, SIGKILL)"))?;
            // EPIPE if the keeper has already ended; its own report says why.
            let _left = self.answer();
        }
        waitpid(self.keeper, None).map(drop).during("waitpid(2) for a sandbox's keeper")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(trouble) = self.kill_and_reap() {
            undo::failed(format_args!("the processes of a sandbox: {trouble}"));
        }
    }
}

fn out_of_turn(report: &Report) -> Trouble {
    Trouble(format!("unexpected report from the sandbox: {report:?}"))
}

/// The keeper's main function. Returns its exit code, which is not used: errors are in the reports.
fn keep(leg: Pid, plan: &Plan, watched: &[Namespace], mut hands: Hands<'_>, then: Then, act: Act<'_>) -> u8 {
    let result = enter_and_fork(leg, plan, watched, &mut hands, then, act).and_then(|inside| watch(inside, &mut hands));
    match result {
        Ok(()) => 0,
        Err(trouble) => u8::from(Report::Trouble(trouble).send(hands.reports).is_err()),
    }
}

fn enter_and_fork(
    leg: Pid,
    plan: &Plan,
    watched: &[Namespace],
    hands: &mut Hands<'_>,
    then: Then,
    act: Act<'_>,
) -> Result<Pid, Trouble> {
    die_with_parent()?;
    if getppid() != leg {
        return Err(Trouble::new("the leg ended while its sandbox was being created"));
    }
    let outside = Placement::of_children(watched)?;
    for &step in &plan.keeper {
        hands.take(step)?;
    }
    let (mut start, starter) = pipe().during("pipe(2)")?;
    let mut starter = Some(starter);
    let inside = fork_with(|| {
        starter = None;
        be_inside(&mut start, plan, hands, then, act)
    })
    .during("fork(2) of the process inside the sandbox")?;
    // Only now does a new PID namespace have a file, because it has an init.
    let new = Placement::of_children(watched)?.new_since(&outside);
    Report::Inside(inside.as_raw(), new).send(hands.reports)?;
    if let Some(starter) = &mut starter {
        starter.write_all(&[0]).during("write(2) to the process inside the sandbox")?;
    }
    Ok(inside)
}

/// Reports that the process inside has ended, reaps it when the process outside answers, and reports how it ended.
fn watch(inside: Pid, hands: &mut Hands<'_>) -> Result<(), Trouble> {
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    uninterrupted(|| waitid(Id::Pid(inside), ended)).during("waitid(2) for the process inside the sandbox")?;
    Report::Gone.send(hands.reports)?;
    await_byte(hands.answers)?;
    // Only this status is right: with WNOWAIT, 5.10 does not report that reboot(2) ended a PID namespace.
    let status = uninterrupted(|| waitpid(inside, None)).during("waitpid(2) for the process inside the sandbox")?;
    let end = End::from_status(status)
        .ok_or_else(|| Trouble(format!("waitpid(2) returned {status:?} for an ended process")))?;
    Report::Ended(end).send(hands.reports)
}

fn uninterrupted<T>(call: impl Fn() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// The main function of the process inside. Returns its exit code.
fn be_inside(start: &mut PipeReader, plan: &Plan, hands: &mut Hands<'_>, then: Then, act: Act<'_>) -> u8 {
    let result = die_with_parent()
        // Fails if the keeper was killed before the line above, in which case nothing would kill this process.
        .and_then(|()| await_byte(start))
        .and_then(|()| plan.inside.iter().try_for_each(|&step| hands.take(step)))
        .and_then(|()| undo::check_undone(act()));
    let report = match result {
        Ok(value) => Report::Value(value),
        Err(trouble) => Report::Trouble(trouble),
    };
    match (report.send(hands.reports), then) {
        (Err(_), _) => 1,
        (Ok(()), Then::Exit) => 0,
        (Ok(()), Then::Stay) => loop {
            pause();
        },
    }
}
