//! Silence, and noise without end: everything that is waited for has a limit.

use vmlab::exit;
use vmlab_tests::fake::script::{Action, Channel, Guest, hello, started};

use crate::{HOSTNAME, ONLY_HOSTNAME, booted, lab, passed_hostname};

#[test]
fn a_guest_that_never_speaks_is_ended_by_the_boot_limit() {
    let outcome = lab(vec![Guest::new(vec![Action::Hang])]).run(&["uts", "--boot-timeout", "1"]);
    outcome.exits(exit::LAB);
    outcome.has(HOSTNAME, "NO-BOOT", "the boot limit of 1000 ms passed (QEMU says of the guest: running)");
    assert_eq!(outcome.guests(), 1);
}

#[test]
fn a_console_that_never_pauses_does_not_hold_the_boot_limit_up() {
    let noise = "[    1.0] all work and no play makes a dull kernel\r\n".repeat(2000);
    let guest = Guest::new(vec![Action::Flood(Channel::Console, noise.into_bytes())]);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--boot-timeout", "1"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "the boot limit of 1000 ms passed");
}

#[test]
fn the_runs_limit_ends_a_scenario_and_what_was_to_follow() {
    let actions = [Action::AwaitRun("uts.domainname".to_owned()), started(1, "uts.domainname"), Action::Hang];
    let outcome = lab(vec![booted(actions)]).run(&["uts", "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT).has("uts.domainname", "TIMEOUT", "the run limit of 1000 ms passed");
    outcome.has(HOSTNAME, "NOT-RUN", "the run's limit of 1 s passed before its turn came");
    outcome.has("uts.sysctl", "NOT-RUN", "limit");
}

#[test]
fn the_runs_limit_while_booting_leaves_everything_unrun() {
    let outcome = lab(vec![Guest::new(vec![Action::Hang])]).run(&["uts", "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT);
    for name in ["uts.domainname", HOSTNAME, "uts.sysctl"] {
        outcome.has(name, "NOT-RUN", "limit");
    }
}

#[test]
fn the_runs_limit_takes_nothing_from_what_had_ended() {
    let actions = [passed_hostname(), vec![Action::AwaitRun("uts.sysctl".to_owned()), Action::Hang]].concat();
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME, "=uts.sysctl", "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT);
    outcome.has(HOSTNAME, "PASS", "").has("uts.sysctl", "NOT-RUN", "limit");

    let actions = [passed_hostname(), vec![Action::AwaitFinish, Action::Hang]].concat();
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME, "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT).has(HOSTNAME, "PASS", "");
}

#[test]
fn a_silent_monitor_does_not_hold_the_boot_limit_up_for_ever() {
    let guest = Guest::new(vec![Action::Hang]).with_qmp(vmlab_tests::fake::script::Qmp::Closed);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--boot-timeout", "1"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "QEMU says of the guest: unknown");
}

#[test]
fn limits_start_anew_with_every_guest() {
    let dies = booted([Action::AwaitRun("uts.domainname".to_owned()), started(1, "uts.domainname"), Action::Exit(0)]);
    let silent = Guest::new(vec![Action::Hang]);
    let outcome = lab(vec![dies, silent]).run(&["uts", "--boot-timeout", "1"]);
    outcome.exits(exit::LAB).has("uts.domainname", "VANISHED", "QEMU exited with 0");
    outcome.has(HOSTNAME, "NO-BOOT", "the boot limit").has("uts.sysctl", "NO-BOOT", "the boot limit");
}

#[test]
fn output_without_end_does_not_hold_the_runs_limit_up() {
    let mut frame = Vec::new();
    let chunk = vmlab_protocol::message::RawChunk {
        run: 1,
        leg: vmlab_protocol::message::Leg::Probe,
        stream: vmlab_protocol::message::Stream::Stdout,
        data: &[b'x'; 4096],
    };
    chunk.encode(&mut frame).unwrap();
    let actions = [Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME), Action::Flood(Channel::Port, frame)];
    let guest = Guest::new([vec![hello()], actions.to_vec()].concat());
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT).has(HOSTNAME, "TIMEOUT", "the run limit");
    assert!(outcome.report(HOSTNAME).output_dropped > 0);
}
