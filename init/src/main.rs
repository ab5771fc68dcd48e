//! vmlab's PID 1 and the scenarios.
//!
//! As PID 1 the program mounts file systems, loads modules, finds the control port, forks the agent, reaps and powers
//! off ([`boot`]). The agent ([`agent`]) takes jobs over the port and runs each leg of a scenario, or of a KUnit
//! suite ([`kunit`]), in its own process, or runs a program of the host's ([`command`]).
//! Outside of a guest the program only lists its contents: `vmlab-init --catalogue` prints the scenarios as JSON, and
//! `vmlab-init --faults` the faults of the fault suite, and `vmlab-init --measures` the measuring scenarios.

use std::io::{self, Write as _};
use std::process::ExitCode;

use measure::Measure;
use scenarios::Scenario;
use vmlab_protocol::catalogue::{BadScenarioId, ScenarioSpec};

mod agent;
mod boot;
mod children;
mod command;
mod console;
mod faults;
mod files;
mod kunit;
mod link;
mod measure;
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
        request if command::autoload::is_request(request) => command::autoload::become_modprobe(request),
        [only] if only == "--catalogue" => print(scenarios::all().map(Scenario::spec)),
        [only] if only == "--faults" => print(faults::all().map(|fault| fault.scenario.spec())),
        [only] if only == "--measures" => print(measure::all().map(Measure::spec)),
        _ => complain(
            "this program is the PID 1 of vmlab's guests; outside of a guest, run it with --catalogue, --faults or --measures",
        ),
    }
}

fn print(specs: impl Iterator<Item = Result<ScenarioSpec, BadScenarioId>>) -> ExitCode {
    match try_print(specs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("cannot print the catalogue: {error}")),
    }
}

fn try_print(specs: impl Iterator<Item = Result<ScenarioSpec, BadScenarioId>>) -> io::Result<()> {
    let specs: Result<Vec<_>, _> = specs.collect();
    let json = serde_json::to_vec(&specs.map_err(io::Error::other)?)?;
    io::stdout().write_all(&json)
}

fn complain(text: &str) -> ExitCode {
    // If standard error cannot be written, the exit code still reports the failure.
    let _ = writeln!(io::stderr(), "vmlab-init: {text}");
    ExitCode::FAILURE
}
