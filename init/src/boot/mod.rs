//! PID 1: mounts file systems, loads modules, finds the port, forks the agent, reaps, and powers off when the agent has
//! ended. In a guest that sees the host's files PID 1 also moves their messages ([`crate::files`]).
//!
//! PID 1 has no panic path: an error becomes a line on the console or an entry of the hello's `problems`, and leads to
//! an orderly power-off.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{Pid, pause};
use vmlab_protocol::{CONTROL_PORT, FILES_PORT};

use crate::agent;
use crate::children::Children;
use crate::command::autoload;
use crate::console;
use crate::files;
use crate::modules;
use crate::sandbox::End;
use crate::sys::process::{default_action, fork_with, reap};

mod cgroup;
mod command_line;
mod mounts;
mod port;

pub(crate) fn run() -> ! {
    let mut problems = mounts::mount_all();
    problems.extend(cgroup::enable_controllers());
    let options = command_line::Options::read(&mut problems);
    match serve(&options, problems) {
        Ok(End::Exited(0)) => {}
        Ok(end) => console::say(&format!("the agent ended before its goodbye: {end}")),
        Err(error) => console::say(&error),
    }
    power_off()
}

/// Starts the agent, serves it and reaps children until the agent has ended; returns how it ended.
fn serve(options: &command_line::Options, mut problems: Vec<String>) -> Result<End, String> {
    // Listen before the modules are loaded, so that no uevent of a port is missed.
    let watch = port::Watch::start();
    let (modules, failed) = modules::load_list(Path::new("/modules/boot.list"));
    problems.extend(failed);
    let find = |name| watch.wait_for_port(name, options.port_timeout);
    let found =
        find(CONTROL_PORT).and_then(|control| Ok((control, options.files.then(|| find(FILES_PORT)).transpose()?)));
    let (control, files) = found.map_err(|missing| {
        let problems = if problems.is_empty() { String::new() } else { format!("; earlier: {}", problems.join("; ")) };
        format!("{missing}{problems}")
    })?;
    if files.is_some() {
        problems.extend(autoload::enable().err());
    }
    let (report, for_agent) = files.is_some().then(files::connect).transpose()?.unzip();
    let mutation = options.mutation;
    let agent = fork_with(move || agent::run(&control, for_agent, mutation, modules, problems))
        .map_err(|e| format!("cannot fork: {e}"))?;
    let mut server = files.zip(report).map(|(port, report)| files::Server::start(&port, report));
    ignore_sent_signals();
    let children = Children::open()?;
    // The agent may have ended before its signal was blocked.
    let mut has_child_ended = true;
    loop {
        if has_child_ended && let Some(end) = reap_ended(agent)? {
            return Ok(end);
        }
        let ready = children.wait_or(server.as_ref().map(files::Server::fds).unwrap_or_default(), None)?;
        has_child_ended = ready.has_child_ended;
        if let Some(server) = &mut server {
            server.work();
        }
    }
}

/// Removes the handlers of Rust's runtime, with which a leg could make PID 1 abort: its handler of SIGSEGV aborts if the
/// signal interrupts its handler of SIGBUS. The kernel drops a sent signal that has no handler in PID 1 (kill(2), NOTES),
/// and a fault of PID 1's own still ends it.
fn ignore_sent_signals() {
    for signal in [Signal::SIGSEGV, Signal::SIGBUS] {
        if let Err(error) = default_action(signal) {
            console::say(&format!("cannot restore the default action of {signal}: {error}"));
        }
    }
}

/// Reaps every child that has ended; returns how `agent` ended, if it did.
fn reap_ended(agent: Pid) -> Result<Option<End>, String> {
    loop {
        match reap(None, WaitPidFlag::WNOHANG) {
            Ok(Some((pid, status))) if pid == agent => return Ok(Some(status.into())),
            Ok(None) => return Ok(None),
            Ok(Some(_)) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("cannot wait for the agent: {error}")),
        }
    }
}

fn power_off() -> ! {
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    console::say(&format!("cannot power off: {error}"));
    // If PID 1 returned, the kernel would panic. The host kills the guest after its grace period.
    loop {
        pause();
    }
}
