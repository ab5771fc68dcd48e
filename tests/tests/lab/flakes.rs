//! Retries, repeats and runs until a failure.

use std::fs;

use nix::sys::signal::Signal;
use roxmltree::Document;
use vmlab_events::event::{JobReport, LabEvent};
use vmlab_events::exit;
use vmlab_protocol::message::{Leg, LegOutcome};
use vmlab_tests::UTS;
use vmlab_tests::fake::script::{Action, Guest, console, event, panics, scenario, started};
use vmlab_tests::outcome::Outcome;

use crate::{HOSTNAME, ONLY_HOSTNAME, booted, booted_then_good, goodbye, lab, leaked};

const BOOT: [&str; 2] = ["--isolation", "boot"];

/// A scenario that fails because its subject leaks.
fn failed() -> Vec<Action> {
    let legs = [(Leg::Probe, LegOutcome::Available), (Leg::Subject, leaked()), (Leg::Control, leaked())];
    scenario(1, HOSTNAME, &legs)
}

/// A guest whose only scenario fails.
fn failing() -> Guest {
    booted([failed(), vec![Action::AwaitFinish, goodbye(1)]].concat())
}

/// A guest whose kernel panics in its first scenario.
fn panicking() -> Guest {
    let panic = console("[    1.0] Kernel panic - not syncing: no\n");
    booted([Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME), panic, Action::Exit(0)])
}

/// The attempts with events of their own: the number and the verdict's label.
fn attempts(outcome: &Outcome) -> Vec<(u32, &'static str)> {
    let attempts = outcome.events.iter().filter_map(|stamped| match &stamped.event {
        LabEvent::JobAttempted(report) => Some((report.attempt, report.verdict.label())),
        _ => None,
    });
    let mut attempts: Vec<_> = attempts.collect();
    attempts.sort_unstable();
    attempts
}

fn runs_and_failures(report: &JobReport) -> Option<(u32, u32)> {
    report.attempts.as_ref().map(|attempts| (attempts.runs, attempts.failures))
}

/// The arguments of a run of one scenario with one guest at a time.
fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&[ONLY_HOSTNAME, "--jobs", "1"], more].concat()
}

#[test]
fn a_failure_and_then_a_pass_are_flaky_in_every_report() {
    let lab = lab(vec![failing(), Guest::good()]);
    let files = ["ktap", "junit"].map(|format| format!("{format}={}", lab.file(format).display()));
    let outcome = lab.run(&arguments(&["--retries", "2", "--report", &files[0], "--report", &files[1]]));
    outcome.exits(exit::FAILED).has(HOSTNAME, "FLAKY", "1 of 2 attempts failed, first with FAIL: not isolated");
    assert_eq!(attempts(&outcome), [(1, "FAIL"), (2, "PASS")]);
    assert_eq!((outcome.guests(), outcome.report(HOSTNAME).guest), (2, Some(1)));
    assert_eq!(runs_and_failures(outcome.report(HOSTNAME)), Some((2, 1)));
    let human = &outcome.ended.stdout;
    for line in ["attempt 1: FAIL (", "attempt 2: PASS (", "FLAKY: of several attempts", ": 1 flaky ("] {
        assert!(human.contains(line), "{line}: {}", outcome.ended);
    }
    let ktap = fs::read_to_string(lab.file("ktap")).unwrap();
    assert!(ktap.contains("\n  not ok 1 uts.hostname # FLAKY: 1 of 2 attempts failed"), "{ktap}");
    assert!(ktap.contains("\n  # attempt 2: PASS ("), "{ktap}");
    let junit = fs::read_to_string(lab.file("junit")).unwrap();
    let document = Document::parse(&junit).unwrap();
    let case = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    let below: Vec<_> = case.children().filter(|node| node.is_element()).map(|node| node.tag_name().name()).collect();
    assert_eq!(below, ["failure", "flakyFailure"], "{junit}");
    // The report of the record says the same.
    for (format, live) in [("human", human), ("ktap", &ktap), ("junit", &junit)] {
        let again = lab.env.run(&["report", "latest", "--format", format]);
        assert_eq!(again.exits(exit::OK).stdout, *live, "{format}");
    }
}

#[test]
fn a_pass_is_not_retried() {
    let outcome = lab(vec![Guest::good()]).run(&arguments(&["--retries", "2"]));
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!((attempts(&outcome), outcome.guests()), (Vec::new(), 1));
}

#[test]
fn a_scenario_that_always_fails_has_its_first_verdict_and_all_attempts() {
    let outcome = lab(vec![panicking(), failing(), failing(), Guest::good()]).run(&arguments(&["--retries", "2"]));
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "Kernel panic");
    assert_eq!(attempts(&outcome), [(1, "CRASH"), (2, "FAIL"), (3, "FAIL")]);
    assert_eq!(runs_and_failures(outcome.report(HOSTNAME)), Some((3, 3)));
}

#[test]
fn in_a_shared_guest_only_failed_scenarios_are_retried_each_alone() {
    let lab = lab(vec![booted_then_good(failed()), Guest::good()]);
    let outcome = lab.run(&[ONLY_HOSTNAME, "=uts.sysctl", "--retries", "1"]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FLAKY", "").has("uts.sysctl", "PASS", "");
    assert_eq!(outcome.guests(), 2);
    assert_eq!(outcome.report("uts.sysctl").guest, Some(1));
}

#[test]
fn a_kernel_that_boots_at_the_second_attempt_is_flaky_and_a_kernel_that_never_boots_is_given_up() {
    // QEMU ends in order, so the guest has ended it.
    let dead = || Guest::new(vec![Action::Exit(0)]);
    let outcome = lab(vec![dead(), Guest::good()]).run(&arguments(&["--retries", "1", BOOT[0], BOOT[1]]));
    outcome.exits(exit::FAILED).has(HOSTNAME, "FLAKY", "first with NO-BOOT");
    let outcome =
        lab(vec![dead(); 9]).run(&[UTS[0], UTS[1], UTS[2], "--jobs", "1", "--retries", "1", BOOT[0], BOOT[1]]);
    outcome.exits(exit::LAB);
    assert_eq!((outcome.guests(), outcome.reports().count()), (2, 3));
    for name in ["uts.domainname", HOSTNAME, "uts.sysctl"] {
        outcome.has(name, "NO-BOOT", "");
    }
}

#[test]
fn repeated_scenarios_have_a_failure_rate() {
    let guests = vec![Guest::good(), failing(), Guest::good(), panicking(), Guest::good()];
    let outcome = lab(guests).run(&arguments(&["--repeat", "5", BOOT[0], BOOT[1]]));
    outcome.exits(exit::FAILED);
    outcome.has(HOSTNAME, "FLAKY", "2 of 5 attempts failed, first with FAIL after 1 good one: not isolated");
    assert_eq!(attempts(&outcome), [(1, "PASS"), (2, "FAIL"), (3, "PASS"), (4, "CRASH"), (5, "PASS")]);
    let rate = "2 of 5 attempts failed: 40.0 % (5.3 % to 85.3 %)";
    assert!(outcome.ended.stdout.contains(rate), "{}", outcome.ended);
    assert_eq!(outcome.guests(), 5);
}

#[test]
fn with_shared_guests_each_round_has_a_fresh_guest() {
    let outcome = lab(vec![Guest::good(); 4]).run(&[UTS[0], UTS[1], UTS[2], "--repeat", "4", "--jobs", "2"]);
    outcome.exits(exit::OK);
    assert_eq!((outcome.guests(), attempts(&outcome).len()), (4, 12));
    for name in ["uts.domainname", HOSTNAME, "uts.sysctl"] {
        outcome.has(name, "PASS", "");
        assert_eq!(runs_and_failures(outcome.report(name)), Some((4, 0)));
    }
    assert!(outcome.ended.stdout.contains("0 of 4 attempts failed: rate below 52.7 %"), "{}", outcome.ended);
}

#[test]
fn a_boot_that_fails_now_and_then_is_counted_and_a_boot_that_always_fails_is_given_up() {
    // QEMU ends in order, so the guest has ended it.
    let dead = || Guest::new(vec![Action::Exit(0)]);
    let repeat = arguments(&["--repeat", "6", BOOT[0], BOOT[1]]);
    let guests = vec![dead(), dead(), Guest::good(), dead(), dead(), dead()];
    let outcome = lab(guests).run(&repeat);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FLAKY", "5 of 6 attempts failed, first with NO-BOOT");
    let outcome = lab(vec![dead(); 6]).run(&repeat);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "");
    assert_eq!(outcome.guests(), 3);
}

#[test]
fn until_failure_ends_at_the_first_failure_and_reports_how_many_passed() {
    let guests = vec![Guest::good(), Guest::good(), failing(), Guest::good()];
    let lab = lab(guests);
    let outcome = lab.run(&arguments(&["--until-failure"]));
    outcome.exits(exit::FAILED).has(HOSTNAME, "FLAKY", "1 of 3 attempts failed, first with FAIL after 2 good ones");
    assert_eq!((outcome.guests(), lab.unclaimed()), (3, vec![3]));
}

#[test]
fn until_failure_takes_the_number_of_rounds_as_its_limit() {
    let outcome = lab(vec![Guest::good(); 3]).run(&arguments(&["--until-failure", "--repeat", "3"]));
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!(runs_and_failures(outcome.report(HOSTNAME)), Some((3, 0)));
}

/// A guest that announces the scenario and then sends nothing.
fn stuck() -> Guest {
    booted([Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME), Action::Hang])
}

#[test]
fn until_failure_ends_well_at_the_runs_limit_and_ignores_the_attempt_that_it_cuts() {
    let outcome = lab(vec![Guest::good(), stuck()]).run(&arguments(&["--until-failure", "--timeout", "3"]));
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!(attempts(&outcome), [(1, "PASS"), (2, "NOT-RUN")]);
    assert_eq!(runs_and_failures(outcome.report(HOSTNAME)), Some((1, 0)));
    // No attempt was completed.
    let outcome = lab(vec![stuck()]).run(&arguments(&["--until-failure", "--timeout", "1"]));
    outcome.exits(exit::TIMED_OUT).has(HOSTNAME, "NOT-RUN", "the run did not end within 1 s (--timeout)");
}

#[test]
fn an_incomplete_repetition_is_no_pass() {
    let outcome = lab(vec![Guest::good(), stuck()]).run(&arguments(&["--repeat", "5", "--timeout", "3"]));
    outcome.exits(exit::TIMED_OUT);
    outcome.has(
        HOSTNAME,
        "NOT-RUN",
        "only 1 of 5 attempts were made, none of which failed: the run did not end within 3 s (--timeout)",
    );
}

#[test]
fn an_interrupt_leaves_the_rate_of_completed_rounds() {
    let lab = lab(vec![Guest::good(), failing(), Guest::good(), stuck()]);
    let mut running = lab.start(&arguments(&["--repeat", "100"]));
    lab.await_event(&mut running, "the fourth run", |event| matches!(event, LabEvent::JobStarted { attempt: 4, .. }));
    running.signal(Signal::SIGINT);
    let outcome = lab.outcome(running.wait());
    outcome.exits(exit::INTERRUPTED).has(HOSTNAME, "FLAKY", "1 of 3 attempts failed");
    assert!(outcome.ended.stdout.contains("1 of 3 attempts failed: 33.3 % (0.84 % to 90.6 %)"), "{}", outcome.ended);
    let again = lab.env.run(&["report", "latest"]);
    assert_eq!(again.stdout, outcome.ended.stdout);
}

#[test]
fn retries_and_repeat_exclude_each_other() {
    let lab = lab(Vec::new());
    for other in [&["--repeat", "2"][..], &["--until-failure"]] {
        let ended = lab.env.run(&[&["run", "--retries", "1"], other].concat());
        ended.exits(exit::USAGE);
        assert!(ended.stderr.contains("cannot be used with"), "{ended}");
    }
}

/// A guest whose QEMU is killed by this signal in its first scenario.
fn killed(signal: Signal) -> Guest {
    booted([Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME), Action::Signal(signal as i32)])
}

fn notices(outcome: &Outcome, words: &str) -> usize {
    outcome.notices().filter(|text| text.contains(words)).count()
}

#[test]
fn an_attempt_that_the_host_lost_is_made_again_and_is_no_failure() {
    let exits = booted([Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME), Action::Exit(1)]);
    for lost in [killed(Signal::SIGKILL), killed(Signal::SIGABRT), exits] {
        for repetition in [["--repeat", "2"], ["--retries", "2"]] {
            let outcome = lab(vec![lost.clone(), Guest::good(), Guest::good()]).run(&arguments(&repetition));
            outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
            assert_eq!(notices(&outcome, "the host lost attempt 1 at uts.hostname"), 1, "{}", outcome.ended);
        }
    }
}

#[test]
fn an_attempt_that_the_host_lost_twice_is_the_labs_failure() {
    let lost = || killed(Signal::SIGKILL);
    let outcome = lab(vec![lost(), lost(), Guest::good()]).run(&arguments(&["--retries", "5"]));
    outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", "QEMU was killed by signal 9");
    assert_eq!(outcome.guests(), 2);
    let outcome = lab(vec![Guest::good(), lost(), lost()]).run(&arguments(&["--repeat", "2"]));
    outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", "QEMU was killed by signal 9");
    assert_eq!(attempts(&outcome), [(1, "PASS")]);
}

#[test]
fn a_kernel_that_ends_its_guest_is_charged_for_it() {
    let reset = event("SHUTDOWN", &serde_json::json!({"guest": true, "reason": "guest-reset"}));
    let resets =
        || booted([Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME), reset.clone(), Action::Exit(0)]);
    let outcome = lab(vec![resets(), Guest::good()]).run(&arguments(&["--retries", "1"]));
    outcome.exits(exit::FAILED).has(HOSTNAME, "FLAKY", "first with VANISHED");
}

#[test]
fn a_boot_that_the_host_lost_is_tried_again_once_with_every_isolation() {
    let dies = Guest::new(vec![Action::Stderr("Could not access KVM kernel module".to_owned()), Action::Exit(1)]);
    let aborts = Guest::new(vec![Action::Signal(Signal::SIGABRT as i32)]);
    for lost in [dies, aborts] {
        for (isolation, guests) in [
            ("boot", vec![lost.clone(), Guest::good()]),
            ("shared", vec![lost.clone(), Guest::good()]),
            ("fork", vec![lost.clone(), Guest::template(), Guest::good_fork()]),
        ] {
            let outcome = lab(guests).run(&arguments(&["--isolation", isolation]));
            outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
            assert_eq!(notices(&outcome, "the host lost a guest before its hello"), 1, "{}", outcome.ended);
        }
        let outcome = lab(vec![lost.clone(), lost]).run(&arguments(&["--isolation", "fork"]));
        outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "");
        assert_eq!(outcome.guests(), 2);
    }
}

#[test]
fn an_early_crash_under_an_emulator_is_tried_again_once_and_reported() {
    let title = "general protection fault: 0000 [#1] PREEMPT SMP NOPTI";
    let crashes = || Guest::new([vec![console(&format!("[    0.1] {title}\r\n"))], panics().to_vec()].concat());
    const NOTICE: &str = "the kernel crashed before its hello";
    for (isolation, guests) in [
        ("boot", vec![crashes(), Guest::good()]),
        ("shared", vec![crashes(), Guest::good()]),
        ("fork", vec![crashes(), Guest::template(), Guest::good_fork()]),
    ] {
        let outcome = lab(guests).run(&arguments(&["--isolation", isolation]));
        outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
        assert_eq!(notices(&outcome, NOTICE), 1, "{}", outcome.ended);
        assert_eq!(notices(&outcome, "general protection fault"), 1, "{}", outcome.ended);
        let outcome = lab(vec![crashes(), crashes()]).run(&arguments(&["--isolation", isolation]));
        outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "general protection fault");
        assert_eq!(outcome.guests(), 2);
    }
    // Who repeats a run wants to see each crash.
    let outcome = lab(vec![crashes(), Guest::good()]).run(&arguments(&["--isolation", "boot", "--repeat", "2"]));
    outcome.exits(exit::FAILED).has(HOSTNAME, "FLAKY", "CRASH");
    assert_eq!(notices(&outcome, NOTICE), 0, "{}", outcome.ended);
}
