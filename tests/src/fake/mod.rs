//! A scripted QEMU for `vmlab run --qemu`. It prints a version, takes inherited sockets, speaks QMP, sends what a script says
//! as its guest, and ends as the script says.
//!
//! A test makes a [`script::Script`] and writes it to a directory with [`script::Script::put`]. The program finds the
//! directory by [`script::VARIABLE`]. Each start takes the next guest of the script. If vmlab does not do what the script
//! expects, the program exits with [`FAULT`] and a sentence on standard error, which vmlab quotes in its verdict.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use script::{Script, Version};

mod machine;
mod player;
pub mod qmp;
pub mod script;
mod socket;

/// The exit code when vmlab does not do what the script expects.
pub const FAULT: u8 = 99;

/// The `fake-qemu` program.
#[must_use]
pub fn main() -> ExitCode {
    match play() {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("fake-qemu: {fault}");
            ExitCode::from(FAULT)
        }
    }
}

fn play() -> Result<ExitCode, String> {
    let dir = env::var_os(script::VARIABLE).map(PathBuf::from).ok_or("there is no script")?;
    let script = Script::get(&dir)?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments == ["--version"] {
        return Ok(tell_version(&script.version));
    }
    let machine = machine::Machine::parse(&arguments)?;
    let guest = script.claim(&dir, &machine.kernel)?;
    player::Player::new(dir, machine, guest.qmp)?.play(&guest.actions)
}

fn tell_version(version: &Version) -> ExitCode {
    match version {
        Version::Says(line) => {
            println!("{line}\nCopyright (c) 2003-2022 Fabrice Bellard and the QEMU Project developers");
            ExitCode::SUCCESS
        }
        Version::Dies { code, stderr } => {
            eprintln!("{stderr}");
            ExitCode::from(*code)
        }
        Version::Hangs => hang(),
    }
}

/// Does nothing until it is killed.
fn hang() -> ! {
    // Nothing flushes the output of a process that is killed.
    io::stderr().flush().unwrap_or_default();
    loop {
        sleep(Duration::from_secs(3600));
    }
}
