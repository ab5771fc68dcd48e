//! vmlab's PID 1 and the scenarios.
//!
//! As PID 1 it mounts, loads modules, finds the control port, forks the agent, reaps and powers off ([`boot`]). The
//! agent ([`agent`]) takes work over the port and runs each leg of a scenario in a process of its own. As any other
//! process it only prints what it can do: `vmlab-init --catalogue` writes the scenarios as JSON, and
//! `--faults` likewise what the fault suite has a guest do.

use std::io::{self, Write as _};
use std::process::ExitCode;

use scenarios::Scenario;

mod agent;
mod boot;
mod faults;
mod modules;
mod sandbox;
mod scenarios;
mod sys;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        boot::run();
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [only] if only == "--catalogue" => print(scenarios::ALL.iter().copied()),
        [only] if only == "--faults" => print(faults::all().map(|fault| &fault.scenario)),
        _ => complain("this is the PID 1 of vmlab's guests; outside of one it only knows --catalogue and --faults"),
    }
}

fn print(scenarios: impl Iterator<Item = &'static Scenario>) -> ExitCode {
    match try_print(scenarios) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("cannot print the catalogue: {error}")),
    }
}

fn try_print(scenarios: impl Iterator<Item = &'static Scenario>) -> io::Result<()> {
    let specs: Result<Vec<_>, _> = scenarios.map(Scenario::spec).collect();
    let json = serde_json::to_vec(&specs.map_err(io::Error::other)?)?;
    io::stdout().write_all(&json)
}

fn complain(text: &str) -> ExitCode {
    // Where standard error cannot be written, the exit code still says it.
    let _ = writeln!(io::stderr(), "vmlab-init: {text}");
    ExitCode::FAILURE
}
