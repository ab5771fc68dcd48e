//! vmlab's PID 1 and the scenarios.
//!
//! As PID 1 it mounts, loads modules, forks the agent, reaps and powers off. As any other process it only prints what
//! it can do: `vmlab-init --catalogue` writes the scenarios as JSON.

use std::process::ExitCode;

mod sandbox;
mod scenarios;
mod sys;

fn main() -> ExitCode {
    ExitCode::FAILURE
}
