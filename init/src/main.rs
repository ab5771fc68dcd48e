//! vmlab's PID 1 and the scenarios.
//!
//! As PID 1 it mounts, loads modules, forks the agent, reaps and powers off. As any other process it only prints what
//! it can do: `vmlab-init --catalogue` writes the scenarios as JSON.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

mod sandbox;
mod scenarios;
mod sys;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(option) if option == "--catalogue" => match print_catalogue() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("vmlab-init: cannot print the catalogue: {error}");
                ExitCode::FAILURE
            }
        },
        _ => ExitCode::FAILURE,
    }
}

/// Writes the specs of all scenarios as one JSON array.
fn print_catalogue() -> Result<(), Box<dyn Error>> {
    let specs = scenarios::ALL.iter().map(|scenario| scenario.spec()).collect::<Result<Vec<_>, _>>()?;
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &specs)?;
    stdout.flush()?;
    Ok(())
}
