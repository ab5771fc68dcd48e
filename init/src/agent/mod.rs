//! The agent: sends the hello, receives jobs, runs them, and reports the results. The agent is a single-threaded
//! process and the only user of the control port.

use std::fs::File;
use std::path::Path;

use nix::sys::prctl::set_child_subreaper;
use nix::unistd::dup2_stdin;
use vmlab_protocol::job::Job;
use vmlab_protocol::message::{GuestMessage, HERE, HostMessage, Leg, LegOutcome};

use crate::console;
use crate::faults;
use crate::link::{Link, LinkError};
use children::Children;
use fresh::Fresh;
use kernel_console::KernelConsole;
use work::Work;

mod allowance;
mod children;
mod facts;
mod fresh;
mod kernel_console;
mod leg;
mod sweep;
mod work;

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
            HostMessage::Run { run, job, leg_timeout_ms, output_limit, marker } => {
                if let Some(marker) = marker {
                    console.write(&marker).map_err(LinkError::Console)?;
                }
                let order = Order { run, leg_timeout_ms, output_limit, console: &console, children: &children };
                if run_job(&mut link, &order, job)? {
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

/// The parameters of a job's run.
struct Order<'a> {
    run: u32,
    leg_timeout_ms: u64,
    /// The output that the run may send, in bytes.
    output_limit: u64,
    console: &'a KernelConsole,
    children: &'a Children,
}

/// Runs a job; returns whether it was started.
fn run_job(link: &mut Link, order: &Order<'_>, job: Job) -> Result<bool, LinkError> {
    let run = order.run;
    let Some(work) = Work::find(&job) else {
        link.send(GuestMessage::Refused { run, why: format!("nothing here is named {job}") })?;
        return Ok(false);
    };
    let agent_fault = faults::find(job.name()).and_then(|fault| fault.agent_fault);
    link.send(GuestMessage::JobStarted { run, job })?;
    if let Some(agent_fault) = agent_fault {
        agent_fault(link, run)?;
        return Ok(true);
    }
    let mut output_left = order.output_limit;
    if run_leg(link, order, &work, Leg::Probe, &mut output_left)? == LegOutcome::Available {
        run_leg(link, order, &work, Leg::Subject, &mut output_left)?;
        if work.has_control() {
            run_leg(link, order, &work, Leg::Control, &mut output_left)?;
        }
    }
    link.send(GuestMessage::JobFinished { run })?;
    Ok(true)
}

fn run_leg(
    link: &mut Link,
    order: &Order<'_>,
    work: &Work,
    leg: Leg,
    output_left: &mut u64,
) -> Result<LegOutcome, LinkError> {
    let done = leg::run(link, order, work, leg, output_left)?;
    let outcome = order.console.level_problem().map_or(done.outcome, |detail| LegOutcome::Failed { detail });
    link.send(GuestMessage::LegFinished {
        run: order.run,
        leg,
        outcome: outcome.clone(),
        duration_ns: done.duration_ns,
        output_dropped: done.output_dropped,
    })?;
    Ok(outcome)
}
