//! `vmlab exec` with a terminal.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::kill;
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use super::commands::exec;
use super::*;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Waits until the terminal is raw, or is not.
fn until_raw(terminal: &File, raw: bool) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while tcgetattr(terminal.as_fd())?.local_flags.contains(LocalFlags::ICANON) == raw {
        assert!(Instant::now() < deadline, "the terminal does not become raw = {raw}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Starts a program that sleeps, with a terminal; returns the terminal's other end.
fn sleeping(env: &TestEnv) -> Outcome<(Child, File)> {
    let pty = openpty(None, None)?;
    let terminal = File::from(pty.slave);
    let mut command = exec(env, &["-k", TRIXIE], &["sleep", "1000"]);
    command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    Ok((command.spawn()?, File::from(pty.master)))
}

#[test]
fn the_terminal_is_restored_however_vmlab_ends() {
    let env = env();
    for signal in [Signal::SIGKILL, Signal::SIGHUP, Signal::SIGABRT] {
        let (mut vmlab, terminal) = sleeping(&env).unwrap();
        until_raw(&terminal, true).unwrap();
        kill(Pid::from_raw(vmlab.id().try_into().unwrap()), signal).unwrap();
        vmlab.wait().unwrap();
        until_raw(&terminal, false).unwrap();
    }
    assert_eq!(env.outliving(), []);
}
