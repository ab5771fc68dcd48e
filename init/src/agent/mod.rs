//! The agent: sends the hello, receives jobs, runs them, and reports the results. The agent is a single-threaded
//! process and the only user of the control port.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use nix::sys::prctl::set_child_subreaper;
use nix::unistd::dup2_stdin;
use vmlab_protocol::job::Job;
use vmlab_protocol::message::{GuestMessage, HERE, HostMessage, Leg, LegOutcome, Stream};

use crate::children::Children;
use crate::command::{self, Place};
use crate::console;
use crate::faults;
use crate::files::Files;
use crate::link::{FromHost, Link, LinkError};
use crate::scenarios::{Mutation, Setting};
use fresh::Fresh;
use kernel_console::KernelConsole;
use output::Forwarded;
use standby::Launcher;
use work::{Way, Work};

mod allowance;
mod archiver;
mod exercise;
mod facts;
mod fresh;
mod kernel_console;
mod leg;
pub(crate) mod output;
mod process;
pub(crate) mod session;
pub(crate) mod standby;
mod streams;
mod sweep;
mod window;
mod work;

const NULL: &str = "/dev/null";

/// Serves the host until the goodbye. `files` comes from PID 1 in guests that see the host's files. Returns the process's
/// exit code; an error that ends the link goes to standard error, which is the console.
pub(crate) fn run(
    port: &Path,
    files: Option<Files>,
    mutation: Option<Mutation>,
    modules: Vec<String>,
    mut problems: Vec<String>,
) -> u8 {
    // Orphans of a scenario become children of the agent, which finds, kills and reaps them.
    if let Err(error) = set_child_subreaper(true) {
        problems.push(format!("cannot become a subreaper: {error}"));
    }
    // Legs inherit /dev/null as standard input. Opening it here, before a template is saved, spares each fork the work.
    if let Err(error) = File::open(NULL).and_then(|null| Ok(dup2_stdin(null)?)) {
        problems.push(format!("cannot open {NULL} as standard input: {error}"));
    }
    match serve(port, files, mutation, modules, problems) {
        Ok(()) => 0,
        Err(error) => {
            console::say(&format!("the agent ends: {error}"));
            1
        }
    }
}

fn serve(
    port: &Path,
    files: Option<Files>,
    mutation: Option<Mutation>,
    modules: Vec<String>,
    mut problems: Vec<String>,
) -> Result<(), LinkError> {
    let mut link = Link::open(port)?;
    let fresh = Fresh::open().map_err(LinkError::Prepare)?;
    let console = KernelConsole::open().map_err(LinkError::Console)?;
    let children = Children::open().map_err(LinkError::Children)?;
    // Before the hello, and so before a template is saved.
    if let Err(error) = exercise::exercise(&console, &children) {
        problems.push(format!("the agent's exercise failed: {error}"));
    }
    let mut commands = Commands::prepare(files);
    console.write(HERE).map_err(LinkError::Console)?;
    link.send(GuestMessage::Hello(Box::new(facts::hello(modules, &console, problems))))?;
    let mut started = 0;
    let mut prepared = false;
    let mut last_command = None;
    let mut setting = Setting { mutation, side: None };
    loop {
        let message = match link.receive()? {
            FromHost::Message(message) => message,
            // What the host sent to a command before it knew that the command has ended.
            FromHost::Chunk { run, stream: Stream::Stdin, .. } if Some(run) == last_command => continue,
            FromHost::Chunk { .. } => return Err(LinkError::Damaged("a raw chunk".to_owned())),
        };
        match message {
            HostMessage::Prepare { wall_clock_ns, entropy, fork, side } => {
                setting.side = side;
                let boot_id = fresh.prepare(wall_clock_ns, &entropy, fork).map_err(LinkError::Prepare)?;
                prepared = true;
                link.send(GuestMessage::Prepared { boot_id })?;
            }
            HostMessage::Run { run, .. } if !prepared => {
                link.send(GuestMessage::Refused { run, why: "the guest was not prepared".to_owned() })?;
            }
            HostMessage::Run { run, job, leg_timeout_ms, output_limit, marker, command } => {
                if let Some(marker) = marker {
                    console.write(&marker).map_err(LinkError::Console)?;
                }
                last_command = command.is_some().then_some(run).or(last_command);
                let order =
                    Order { run, leg_timeout_ms, output_limit, setting, console: &console, children: &children };
                match Work::find(&job, command, &commands.host_files) {
                    Ok(work) => {
                        run_job(&mut link, &order, &mut commands.launcher, job, &work)?;
                        started += 1;
                    }
                    Err(why) => link.send(GuestMessage::Refused { run, why })?,
                }
            }
            // As for raw data: the command has ended.
            HostMessage::Control { .. } => {}
            HostMessage::Finish { marker } => {
                console.write(&marker).map_err(LinkError::Console)?;
                return link.send(GuestMessage::RunFinished { started });
            }
        }
    }
}

/// What is needed for commands.
struct Commands {
    /// The outcome of the probe of commands that see the host's files.
    host_files: LegOutcome,
    launcher: Launcher<'static>,
}

impl Commands {
    /// Waits for the host's files, and starts the process of the first command.
    fn prepare(files: Option<Files>) -> Self {
        let (mut host_files, mut launcher) = (command::probe(files), Launcher::new(Place::in_guest()));
        if host_files == LegOutcome::Available
            && let Err(why) = launcher.stand_by()
        {
            host_files = LegOutcome::Failed { detail: format!("the agent cannot prepare for a command: {why}") };
        }
        Self { host_files, launcher }
    }
}

/// The parameters of a job's run.
struct Order<'a> {
    run: u32,
    leg_timeout_ms: u64,
    /// The output that the run may send, in bytes.
    output_limit: u64,
    setting: Setting,
    console: &'a KernelConsole,
    children: &'a Children,
}

/// Runs a job; returns the outcomes of its legs, in order.
fn run_job(
    link: &mut Link,
    order: &Order<'_>,
    launcher: &mut Launcher<'_>,
    job: Job,
    work: &Work,
) -> Result<Vec<LegOutcome>, LinkError> {
    let run = order.run;
    let agent_fault = faults::find(job.name()).and_then(|fault| fault.agent_fault);
    link.send(GuestMessage::JobStarted { run, job })?;
    if let Some(agent_fault) = agent_fault {
        agent_fault(link, run)?;
        return Ok(Vec::new());
    }
    let mut output_left = order.output_limit;
    let mut outcomes = vec![run_leg(link, order, launcher, work, Leg::Probe, &mut output_left)?];
    if outcomes == [LegOutcome::Available] {
        outcomes.push(run_leg(link, order, launcher, work, Leg::Subject, &mut output_left)?);
        if work.has_control() {
            outcomes.push(run_leg(link, order, launcher, work, Leg::Control, &mut output_left)?);
        }
    }
    link.send(GuestMessage::JobFinished { run })?;
    Ok(outcomes)
}

fn run_leg(
    link: &mut Link,
    order: &Order<'_>,
    launcher: &mut Launcher<'_>,
    work: &Work,
    leg: Leg,
    output_left: &mut u64,
) -> Result<LegOutcome, LinkError> {
    let began = Instant::now();
    let mut forwarded = Forwarded { link, run: order.run, leg, left: output_left, dropped: 0 };
    let found = match work.way(leg) {
        Way::Code(code) => {
            launcher.forget();
            leg::run(order, code, &mut forwarded)?
        }
        Way::Command(command) => session::run(command, launcher, order.leg_timeout_ms, order.children, &mut forwarded)?,
        Way::Known(outcome) => outcome.clone(),
    };
    let duration_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let output_dropped = forwarded.dropped;
    let outcome = order.console.level_problem().map_or(found, |detail| LegOutcome::Failed { detail });
    link.send(GuestMessage::LegFinished {
        run: order.run,
        leg,
        outcome: outcome.clone(),
        duration_ns,
        output_dropped,
    })?;
    Ok(outcome)
}
