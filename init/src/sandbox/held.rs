//! The processes of one sandbox, seen from outside.

use std::io::{PipeReader, PipeWriter, Write, pipe};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{Pid, getpid, getppid, pause};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::apply::{Hands, await_byte, die_with_parent, write_id_maps};
use super::cgroup::Cgroup;
use super::plan::{Plan, plan};
use super::report::{End, Report, Reports};
use super::{During, PATIENCE, Sandbox, Trouble, undo};
use crate::sys::process::fork_with;

/// What the process inside does when it has sent its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It exits.
    Exit,
    /// It stays until it is killed.
    Stay,
}

/// Code for inside, its value already in the form in which it goes through the pipe.
pub type Act<'a> = Box<dyn FnOnce() -> Result<Value, Trouble> + 'a>;

/// Makes an [`Act`] of a function that returns a value of its own type.
pub fn boxed<'a, T: Serialize>(act: impl FnOnce() -> Result<T, Trouble> + 'a) -> Act<'a> {
    Box::new(|| serde_json::to_value(act()?).during("serialising the answer of the sandbox"))
}

/// A process that is kept alive inside a sandbox. Dropping the guard kills and reaps it.
#[derive(Debug)]
pub struct Held<T> {
    process: Process,
    pid: Pid,
    value: T,
}

impl<T> Held<T> {
    /// Of this process, which has sent this value.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn new(process: Process, value: T) -> Result<Self, Trouble> {
        let pid = process.inside.ok_or_else(|| Trouble::new("the process inside the sandbox is gone"))?;
        Ok(Self { process, pid, value })
    }

    /// What the code inside returned.
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// The process's PID as seen outside.
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The PID of the process's parent, as seen outside.
    pub const fn parent(&self) -> Pid {
        self.process.keeper
    }

    /// The path of the sandbox's cgroup; the root's where it has none.
    pub fn cgroup(&self) -> String {
        self.process.cgroup.as_ref().map_or_else(|| "/".to_owned(), Cgroup::path)
    }
}

/// The keeper and the process inside.
#[derive(Debug)]
pub struct Process {
    keeper: Pid,
    /// What is to be killed: the keeper until it has forked, then the process inside until it is to be reaped.
    inside: Option<Pid>,
    reports: Reports,
    leash: PipeWriter,
    /// Last, so that it is removed after the processes are gone.
    cgroup: Option<Cgroup>,
}

impl Process {
    /// Starts them and waits until the process inside exists.
    ///
    /// # Errors
    /// A step on the way in failed.
    pub fn spawn(sandbox: &Sandbox, then: Then, act: Act<'_>) -> Result<Self, Trouble> {
        let cgroup = sandbox.cgroup.map(Cgroup::create).transpose()?;
        let plan = plan(sandbox.namespaces, !sandbox.clock_offsets.is_empty(), cgroup.is_some());
        let (reader, mut writer) = pipe().during("pipe(2)")?;
        let (mut leash_end, leash) = pipe().during("pipe(2)")?;
        let leg = getpid();
        let keeper = fork_with(|| {
            let hands = Hands {
                cgroup: cgroup.as_ref(),
                clock_offsets: sandbox.clock_offsets,
                reports: &mut writer,
                leash: &mut leash_end,
            };
            keep(leg, &plan, hands, then, act)
        })
        .during("fork(2) of a sandbox's keeper")?;
        drop((writer, leash_end));
        let mut process = Self { keeper, inside: Some(keeper), reports: Reports::new(reader), leash, cgroup };
        loop {
            match process.reports.next(PATIENCE)? {
                Report::NeedIdMaps => {
                    write_id_maps(keeper)?;
                    process.answer()?;
                }
                Report::Inside(pid) => {
                    process.inside = Some(Pid::from_raw(pid));
                    return Ok(process);
                }
                Report::Trouble(trouble) => return Err(trouble),
                other => return Err(out_of_turn(&other)),
            }
        }
    }

    /// Waits for the value.
    ///
    /// # Errors
    /// The code inside failed, or its process ended before it had a value.
    pub fn value<T: DeserializeOwned>(mut self) -> Result<(Self, T), Trouble> {
        match self.reports.next(PATIENCE)? {
            Report::Value(value) => {
                Ok((self, serde_json::from_value(value).during("reading the answer of the sandbox")?))
            }
            Report::Gone => {
                let end = self.let_go()?;
                Err(Trouble(format!("the process inside the sandbox ended ({end}) before it had an answer")))
            }
            Report::Trouble(trouble) => Err(trouble),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Waits until the process inside has ended.
    ///
    /// # Errors
    /// It failed, or sent a value.
    pub fn end(mut self) -> Result<End, Trouble> {
        match self.reports.next(PATIENCE)? {
            Report::Gone => self.let_go(),
            Report::Trouble(trouble) => Err(trouble),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Has the process inside reaped, which has ended.
    fn let_go(&mut self) -> Result<End, Trouble> {
        self.inside = None;
        self.answer()?;
        match self.reports.next(PATIENCE)? {
            Report::Ended(end) => Ok(end),
            Report::Trouble(trouble) => Err(trouble),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Sends the keeper the byte that it waits for.
    fn answer(&mut self) -> Result<(), Trouble> {
        self.leash.write_all(&[0]).during("write(2) to a sandbox's keeper")
    }

    fn kill_and_reap(&mut self) -> Result<(), Trouble> {
        // As long as the keeper was not told to reap the process inside, its PID cannot have gone to another.
        if let Some(pid) = self.inside {
            kill(pid, Signal::SIGKILL).during(format_args!("kill({pid}, SIGKILL)"))?;
            // EPIPE where the keeper has left by itself, which its own report has told.
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
    Trouble(format!("unexpected word from the sandbox: {report:?}"))
}

/// The keeper's life. Returns its exit code, which nobody reads: what went wrong is in the reports.
fn keep(leg: Pid, plan: &Plan, mut hands: Hands<'_>, then: Then, act: Act<'_>) -> u8 {
    let result = enter_and_fork(leg, plan, &mut hands, then, act).and_then(|inside| watch(inside, &mut hands));
    match result {
        Ok(()) => 0,
        Err(trouble) => u8::from(Report::Trouble(trouble).send(hands.reports).is_err()),
    }
}

fn enter_and_fork(leg: Pid, plan: &Plan, hands: &mut Hands<'_>, then: Then, act: Act<'_>) -> Result<Pid, Trouble> {
    die_with_parent()?;
    if getppid() != leg {
        return Err(Trouble::new("the leg ended while its sandbox was being made"));
    }
    for &step in &plan.entering {
        hands.take(step)?;
    }
    let (mut start, starter) = pipe().during("pipe(2)")?;
    let mut starter = Some(starter);
    let inside = fork_with(|| {
        starter = None;
        be_inside(&mut start, plan, hands, then, act)
    })
    .during("fork(2) of the process inside the sandbox")?;
    Report::Inside(inside.as_raw()).send(hands.reports)?;
    if let Some(starter) = &mut starter {
        starter.write_all(&[0]).during("write(2) to the process inside the sandbox")?;
    }
    Ok(inside)
}

/// Reports that the process inside has ended, reaps it when the process outside allows it, and reports how it ended.
fn watch(inside: Pid, hands: &mut Hands<'_>) -> Result<(), Trouble> {
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    uninterrupted(|| waitid(Id::Pid(inside), ended)).during("waitid(2) for the process inside the sandbox")?;
    Report::Gone.send(hands.reports)?;
    await_byte(hands.leash)?;
    // Only now is the status to be trusted: with WNOWAIT, 5.10 does not tell that reboot(2) ended a PID namespace.
    let status = uninterrupted(|| waitpid(inside, None)).during("waitpid(2) for the process inside the sandbox")?;
    let end =
        End::from_status(status).ok_or_else(|| Trouble(format!("waitpid(2) said {status:?} of a dead process")))?;
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

/// The life of the process inside. Returns its exit code.
fn be_inside(start: &mut PipeReader, plan: &Plan, hands: &mut Hands<'_>, then: Then, act: Act<'_>) -> u8 {
    let result = die_with_parent()
        // Fails where the keeper was killed before the line above: nobody would kill this process then.
        .and_then(|()| await_byte(start))
        .and_then(|()| plan.settling.iter().try_for_each(|&step| hands.take(step)))
        .and_then(|()| undo::settle(act()));
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
