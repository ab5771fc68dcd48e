//! vmlab's PID 1 and the scenarios.
//!
//! As PID 1 the program mounts file systems, loads modules, finds the control port, forks the agent, reaps and powers
//! off (`boot`). The agent (`agent`) takes jobs over the port and runs each leg of a scenario, or of a KUnit
//! suite (`kunit`), in its own process, or runs a program of the host's (`command`).
//! The host takes the descriptions of the scenarios from this library ([`catalogue`]); the program does not have them.

use std::io::{self, Write as _};
use std::process::ExitCode;

mod agent;
mod boot;
pub mod catalogue;
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

/// The program `vmlab-init`. As PID 1 it does not return. In a guest it is also the kernel's modprobe(8).
#[must_use]
pub fn main() -> ExitCode {
    if std::process::id() == 1 {
        boot::run();
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if command::autoload::is_request(&arguments) {
        return command::autoload::become_modprobe(&arguments);
    }
    // If standard error cannot be written, the exit code still reports the failure.
    let _ = writeln!(
        io::stderr(),
        "vmlab-init: this program is the PID 1 of vmlab's guests, and does nothing outside of one"
    );
    ExitCode::FAILURE
}
