//! The agent: sends the hello, receives jobs, runs them, and reports the results. The agent is a single-threaded
//! process and the only user of the control port.

use std::fs::File;
use std::path::Path;

use nix::sys::prctl::set_child_subreaper;
use nix::unistd::dup2_stdin;
use vmlab_protocol::catalogue::ScenarioId;
use vmlab_protocol::message::{GuestMessage, HERE, HostMessage, Leg, LegOutcome};

use crate::console;
use crate::faults;
use crate::link::{Link, LinkError};
use crate::scenarios::{self, Scenario};
use children::Children;
use fresh::Fresh;
use kernel_console::KernelConsole;

mod allowance;
mod children;
mod facts;
mod fresh;
mod kernel_console;
mod leg;
mod sweep;

const NULL: &str = "/dev/null";

/// Serves the host until the goodbye. Returns the process's exit code; an error that ends the link goes to standard
/// error, which is the console.
pub(crate) fn run(port: &Path, modules: Vec<String>, mut problems: Vec<String>) -> u8 {
    // Orphans of a scenario become children of the agent, which finds, kills and reaps them.
    if let Err(error) = set_child_subreaper(true) {
        problems.push(format!("cannot become a subreaper: {error}"));
    }
    // Legs inherit /dev/null as standard input. Opening it here, before a template is saved, spares each fork the work.
    if let Err(error) = File::open(NULL).and_then(|null| Ok(dup2_stdin(null)?)) {
        problems.push(format!("cannot open {NULL} as standard input: {error}"));
    }
    match serve(port, modules, problems) {
        Ok(()) => 0,
        Err(error) => {
            console::say(&format!("the agent ends: {error}"));
            1
        }
    }
}

fn serve(port: &Path, modules: Vec<String>, problems: Vec<String>) -> Result<(), LinkError> {
    let mut link = Link::open(port)?;
    let fresh = Fresh::open().map_err(LinkError::Prepare)?;
    let console = KernelConsole::open().map_err(LinkError::Console)?;
    let children = Children::open().map_err(LinkError::Children)?;
    console.write(HERE).map_err(LinkError::Console)?;
    link.send(GuestMessage::Hello(Box::new(facts::hello(modules, &console, problems))))?;
    let mut started = 0;
    let mut prepared = false;
    loop {
        match link.receive()? {
            HostMessage::Prepare { wall_clock_ns, entropy, fork } => {
                let boot_id = fresh.prepare(wall_clock_ns, &entropy, fork).map_err(LinkError::Prepare)?;
                prepared = true;
                link.send(GuestMessage::Prepared { boot_id })?;
            }
            HostMessage::Run { run, .. } if !prepared => {
                link.send(GuestMessage::Refused { run, why: "the guest was not prepared".to_owned() })?;
            }
            HostMessage::Run { run, scenario, leg_timeout_ms, output_limit, marker } => {
                if let Some(marker) = marker {
                    console.write(&marker).map_err(LinkError::Console)?;
                }
                let job = Job { run, leg_timeout_ms, output_limit, console: &console, children: &children };
                if run_scenario(&mut link, &job, scenario)? {
                    started += 1;
                }
            }
            HostMessage::Finish { marker } => {
                console.write(&marker).map_err(LinkError::Console)?;
                return link.send(GuestMessage::RunFinished { started });
            }
        }
    }
}

/// The parameters of a scenario's run.
struct Job<'a> {
    run: u32,
    leg_timeout_ms: u64,
    /// The output that the run may send, in bytes.
    output_limit: u64,
    console: &'a KernelConsole,
    children: &'a Children,
}

/// Runs a scenario or a fault; returns whether it was started.
fn run_scenario(link: &mut Link, job: &Job<'_>, id: ScenarioId) -> Result<bool, LinkError> {
    let run = job.run;
    let fault = faults::find(id.as_str());
    let Some(scenario) = scenarios::find(id.as_str()).or(fault.map(|fault| &fault.scenario)) else {
        link.send(GuestMessage::Refused { run, why: format!("no scenario is named {id}") })?;
        return Ok(false);
    };
    link.send(GuestMessage::ScenarioStarted { run, scenario: id })?;
    if let Some(agent_fault) = fault.and_then(|fault| fault.agent_fault) {
        agent_fault(link, run)?;
        return Ok(true);
    }
    let mut output_left = job.output_limit;
    if run_leg(link, job, scenario, Leg::Probe, &mut output_left)? == LegOutcome::Available {
        run_leg(link, job, scenario, Leg::Subject, &mut output_left)?;
        if scenario.has_control() {
            run_leg(link, job, scenario, Leg::Control, &mut output_left)?;
        }
    }
    link.send(GuestMessage::ScenarioFinished { run })?;
    Ok(true)
}

fn run_leg(
    link: &mut Link,
    job: &Job<'_>,
    scenario: &'static Scenario,
    leg: Leg,
    output_left: &mut u64,
) -> Result<LegOutcome, LinkError> {
    let done = leg::run(link, job, scenario, leg, output_left)?;
    let outcome = job.console.level_problem().map_or(done.outcome, |detail| LegOutcome::Failed { detail });
    link.send(GuestMessage::LegFinished {
        run: job.run,
        leg,
        outcome: outcome.clone(),
        duration_ns: done.duration_ns,
        output_dropped: done.output_dropped,
    })?;
    Ok(outcome)
}
