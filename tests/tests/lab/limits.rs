//! Guests that are silent, and guests that never stop writing: every wait has a limit.

use vmlab_events::exit;
use vmlab_events::loss::Deadline;
use vmlab_events::verdict::Verdict;
use vmlab_tests::fake::script::{self, Action, Channel, Guest, hello, started};

use vmlab_tests::UTS;

use crate::{HOSTNAME, ONLY_HOSTNAME, booted, lab, passed_hostname};

#[test]
fn a_guest_that_sends_nothing_ends_at_the_boot_limit() {
    let outcome = lab(vec![Guest::new(vec![Action::Hang])]).run(&[UTS[0], UTS[1], UTS[2], "--boot-timeout", "1"]);
    outcome.exits(exit::LAB);
    let text = "no line from the kernel within 1 s (--boot-timeout)";
    outcome.has(HOSTNAME, "NO-BOOT", text).has(HOSTNAME, "NO-BOOT", "see NO-BOOT in `vmlab help troubleshooting`");
    assert!(!outcome.report(HOSTNAME).verdict.detail().contains("QEMU says"), "its state is the ordinary one");
    assert_eq!(outcome.guests(), 1);
}

#[test]
fn a_console_that_never_pauses_does_not_delay_the_boot_limit() {
    let noise = "[    1.0] all work and no play makes a dull kernel\r\n".repeat(2000);
    let guest = Guest::new(vec![Action::Flood(Channel::Console, noise.into_bytes())]);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--boot-timeout", "1"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "no line from the kernel within 1 s (--boot-timeout)");
}

#[test]
fn the_runs_limit_ends_a_scenario_and_all_that_follow() {
    let actions = [Action::AwaitRun("uts.domainname".to_owned()), started(1, "uts.domainname"), Action::Hang];
    let outcome = lab(vec![booted(actions)]).run(&[UTS[0], UTS[1], UTS[2], "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT).has("uts.domainname", "TIMEOUT", "the run did not end within 1 s (--timeout)");
    outcome.has(HOSTNAME, "NOT-RUN", "the run's timeout of 1 s (--timeout) passed before its turn came");
    outcome.has("uts.sysctl", "NOT-RUN", "--timeout");
}

#[test]
fn the_runs_limit_during_the_boot_leaves_all_scenarios_not_run() {
    let outcome = lab(vec![Guest::new(vec![Action::Hang])]).run(&[UTS[0], UTS[1], UTS[2], "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT);
    for name in ["uts.domainname", HOSTNAME, "uts.sysctl"] {
        outcome.has(name, "NOT-RUN", "--timeout");
    }
}

#[test]
fn the_runs_limit_changes_no_verdict_of_a_completed_scenario() {
    let actions = [passed_hostname(), vec![Action::AwaitRun("uts.sysctl".to_owned()), Action::Hang]].concat();
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME, "=uts.sysctl", "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT);
    outcome.has(HOSTNAME, "PASS", "").has("uts.sysctl", "NOT-RUN", "--timeout");

    let actions = [passed_hostname(), vec![Action::AwaitFinish, Action::Hang]].concat();
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME, "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT).has(HOSTNAME, "PASS", "");
}

#[test]
fn a_closed_monitor_does_not_delay_the_boot_limit() {
    let guest = Guest::new(vec![Action::Hang]).with_qmp(vmlab_tests::fake::script::Qmp::Closed);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--boot-timeout", "1"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "QEMU does not say whether the guest runs");
}

#[test]
fn limits_start_again_with_every_guest() {
    let dies = booted([Action::AwaitRun("uts.domainname".to_owned()), started(1, "uts.domainname"), Action::Exit(0)]);
    let silent = Guest::new(vec![Action::Hang]);
    let outcome = lab(vec![dies, silent]).run(&[UTS[0], UTS[1], UTS[2], "--boot-timeout", "1"]);
    outcome.exits(exit::LAB).has("uts.domainname", "VANISHED", "QEMU exited with 0");
    outcome.has(HOSTNAME, "NO-BOOT", "--boot-timeout").has("uts.sysctl", "NO-BOOT", "--boot-timeout");
}

#[test]
fn endless_output_does_not_delay_the_runs_limit() {
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
    outcome.exits(exit::TIMED_OUT).has(HOSTNAME, "TIMEOUT", "the run did not end within 1 s");
    assert!(outcome.report(HOSTNAME).output_dropped > 0);
}

/// A guest that does this while the scenario runs.
fn running(action: Action) -> Guest {
    booted([Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME), action])
}

#[test]
fn an_agent_that_sends_nothing_is_silent_even_if_the_kernel_prints() {
    let words = "[    0.0] Linux version 6.12.0-fixture\r\n";
    let guest = Guest::new(vec![script::console(words), Action::Hang]);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--handshake-timeout", "1"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "no hello from the guest within 1 s (--handshake-timeout)");
    outcome.has(HOSTNAME, "NO-BOOT", "the console's last line: [    0.0] Linux version 6.12.0-fixture");
    assert_eq!(outcome.loss().deadline, Some(Deadline::Handshake));
    assert_eq!(outcome.loss().console, [words.trim_end()], "what came before is kept");
}

#[test]
fn a_guest_that_sends_nothing_and_computes_nothing_is_silent() {
    let outcome = lab(vec![running(Action::Hang)]).run(&[ONLY_HOSTNAME, "--silence-timeout", "1"]);
    outcome.exits(exit::TIMED_OUT).has(HOSTNAME, "TIMEOUT", "used no CPU time for 1 s (--silence-timeout)");
    let Verdict::TimedOut { reason } = &outcome.report(HOSTNAME).verdict else { panic!() };
    assert_eq!(reason.deadline(), Some(Deadline::Silence));
    assert!(outcome.loss().registers.is_some(), "QEMU lives, and is asked");
}

#[test]
fn a_guest_that_keeps_sending_ends_at_the_scenario_limit() {
    let noise = Action::Flood(Channel::Console, b"[    1.0] all work and no play\r\n".to_vec());
    let arguments = [ONLY_HOSTNAME, "--silence-timeout", "1", "--scenario-timeout", "2"];
    let outcome = lab(vec![running(noise)]).run(&arguments);
    outcome.exits(exit::TIMED_OUT).has(HOSTNAME, "TIMEOUT", "the scenario did not end within 2 s (--scenario-timeout)");
    assert_eq!(outcome.loss().deadline, Some(Deadline::Scenario));
}

#[test]
fn the_events_name_the_limit_that_passed() {
    let boot = lab(vec![Guest::new(vec![Action::Hang])]).run(&[ONLY_HOSTNAME, "--boot-timeout", "1"]);
    assert_eq!(boot.loss().deadline, Some(Deadline::Boot));
    let run = lab(vec![running(Action::Hang)]).run(&[ONLY_HOSTNAME, "--timeout", "1"]);
    assert_eq!(run.loss().deadline, Some(Deadline::Run));
    let Verdict::TimedOut { reason } = &run.report(HOSTNAME).verdict else { panic!() };
    assert_eq!(reason.deadline(), Some(Deadline::Run));
}

/// A kernel that oopses while it handles an oops never reaches its panic.
#[test]
fn endless_oopses_end_before_the_scenario_limit() {
    let oops = "[    3.1] BUG: kernel NULL pointer dereference, address: 0000000000000128\r\n";
    let again = oops.repeat(500).into_bytes();
    let started = [Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME)];
    let actions = started.into_iter().chain([Action::Flood(Channel::Console, again)]);
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "NULL pointer dereference");
    assert_eq!(outcome.loss().deadline, Some(Deadline::Exit));
}
