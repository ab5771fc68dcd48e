//! Tests of a sandbox's processes on the host, without privileges: values, ends, and leftovers. Namespaces are tested
//! in guests.
//!
//! The test has its own `main`: fork(2) is sound only in a process of one thread, and the test harness has several.

#![expect(
    dead_code,
    unused_imports,
    reason = "the modules are private to the library; the test uses only parts of them"
)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test without the standard harness")]

use std::io::{Read, Write, pipe};
use std::process::exit;

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid, pause};
use vmlab_protocol::message::{Leg, LegOutcome};

#[path = "../src/modules.rs"]
mod modules;
#[path = "../src/sandbox/mod.rs"]
mod sandbox;
#[path = "../src/scenarios/mod.rs"]
mod scenarios;
#[path = "../src/sys/mod.rs"]
mod sys;

use sandbox::undo::{self, Undo};
use sandbox::{End, Sandbox, Trouble};
use sys::process::fork_with;

const TESTS: &[(&str, fn())] = &[
    ("values_come_back_from_another_process", values_come_back_from_another_process),
    ("a_value_larger_than_a_pipe_comes_back", a_value_larger_than_a_pipe_comes_back),
    ("troubles_come_back", troubles_come_back),
    ("a_death_before_the_answer_is_reported", a_death_before_the_answer_is_reported),
    ("an_expected_death_is_an_answer", an_expected_death_is_an_answer),
    ("a_failed_undo_inside_is_trouble", a_failed_undo_inside_is_trouble),
    ("held_processes_live_until_they_are_dropped", held_processes_live_until_they_are_dropped),
    ("a_sandbox_dies_with_its_leg", a_sandbox_dies_with_its_leg),
    ("missing_rights_are_not_a_missing_feature", missing_rights_are_not_a_missing_feature),
];

fn main() {
    for (name, test) in TESTS {
        test();
        let left = waitpid(None, Some(WaitPidFlag::WNOHANG));
        assert_eq!(left, Err(Errno::ECHILD), "{name} left a child");
        assert_eq!(undo::check_undone(Ok(())), Ok(()), "{name}");
        println!("test {name} ... ok");
    }
}

fn values_come_back_from_another_process() {
    let (own, text) = Sandbox::none().run(|| Ok((getpid().as_raw(), "two\nlines".to_owned()))).unwrap();
    assert_ne!(own, getpid().as_raw());
    assert_eq!(text, "two\nlines");
}

fn a_value_larger_than_a_pipe_comes_back() {
    let long = "x".repeat(500_000);
    assert_eq!(Sandbox::none().run(|| Ok(long.clone())), Ok(long));
}

fn troubles_come_back() {
    let trouble = Trouble::new("mount(2): EBUSY");
    assert_eq!(Sandbox::none().run(|| Err::<(), _>(trouble.clone())), Err(trouble.clone()));
    assert_eq!(Sandbox::none().hold(|| Err::<(), _>(trouble.clone())).map(drop), Err(trouble.clone()));
    assert_eq!(Sandbox::none().end_of(|| Err(trouble.clone())), Err(trouble));
}

fn a_death_before_the_answer_is_reported() {
    let died =
        |how: &str| Err(Trouble::new(format_args!("the process inside the sandbox ended ({how}) before it answered")));
    assert_eq!(Sandbox::none().run(|| -> Result<(), Trouble> { die_of(Signal::SIGABRT) }), died("killed by SIGABRT"));
    assert_eq!(Sandbox::none().hold(|| -> Result<(), Trouble> { exit(3) }).map(drop), died("exited with 3"));
}

fn an_expected_death_is_an_answer() {
    assert_eq!(Sandbox::none().end_of(|| die_of(Signal::SIGUSR1)), Ok(End::killed(Signal::SIGUSR1)));
    assert_eq!(Sandbox::none().end_of(|| exit(3)), Ok(End::Exited(3)));
    let returned = Sandbox::none().end_of(|| Ok(())).unwrap_err();
    assert!(returned.to_string().starts_with("unexpected report from the sandbox"), "{returned}");
}

fn a_failed_undo_inside_is_trouble() {
    let result = Sandbox::none().run(|| {
        let _back = Undo::new("the clock", || Err(Trouble::new("EPERM")));
        Ok(1)
    });
    assert_eq!(result, Err(Trouble::new("could not restore the clock: EPERM")));
}

fn held_processes_live_until_they_are_dropped() {
    let hold = || Sandbox::none().hold(|| Ok((getpid().as_raw(), getppid().as_raw()))).unwrap();
    let (first, second) = (hold(), hold());
    for held in [&first, &second] {
        assert_eq!(held.value(), &(held.pid().as_raw(), held.parent().as_raw()));
        assert_eq!(kill(held.pid(), None), Ok(()));
    }
    let pids = [first.pid(), second.pid()];
    drop(first);
    assert_eq!(pids.map(|pid| kill(pid, None)), [Err(Errno::ESRCH), Ok(())]);
    drop(second);
    assert_eq!(pids.map(|pid| kill(pid, None)), [Err(Errno::ESRCH); 2]);
}

/// The agent kills a leg at its time limit.
fn a_sandbox_dies_with_its_leg() {
    // Orphans of the leg become children of this process, as they become children of the agent in a guest.
    set_child_subreaper(true).unwrap();
    let (mut reader, mut writer) = pipe().unwrap();
    let leg = fork_with(|| {
        let held = Sandbox::none().hold(|| Ok(())).unwrap();
        writer.write_all(&held.pid().as_raw().to_ne_bytes()).unwrap();
        writer.write_all(&held.parent().as_raw().to_ne_bytes()).unwrap();
        pause();
        0
    })
    .unwrap();
    let mut pid = || {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).unwrap();
        Pid::from_raw(i32::from_ne_bytes(bytes))
    };
    let (inside, keeper) = (pid(), pid());
    kill(leg, Signal::SIGKILL).unwrap();
    assert_eq!(waitpid(leg, None), Ok(WaitStatus::Signaled(leg, Signal::SIGKILL, false)));
    assert_eq!(waitpid(keeper, None), Ok(WaitStatus::Signaled(keeper, Signal::SIGKILL, false)));
    assert_eq!(waitpid(inside, None), Ok(WaitStatus::Signaled(inside, Signal::SIGKILL, false)));
}

/// Holds for root and for other users, because the build host's kernel has UTS namespaces.
fn missing_rights_are_not_a_missing_feature() {
    match scenarios::run_leg(scenarios::find("uts.hostname").unwrap(), Leg::Probe, scenarios::Setting::default()) {
        LegOutcome::Available => {}
        LegOutcome::Failed { detail } => assert!(detail.contains("EPERM"), "{detail}"),
        other => panic!("{other:?}"),
    }
}

fn die_of(signal: Signal) -> ! {
    kill(getpid(), signal).unwrap();
    exit(99)
}
