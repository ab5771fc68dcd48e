//! The verdicts that follow from a scenario's legs and from kernel warnings.

use vmlab_events::exit;
use vmlab_protocol::message::{Leg, LegOutcome, Stream};
use vmlab_tests::UTS;
use vmlab_tests::fake::script::{Action, Channel, Guest, console, finished, legs, scenario, started};
use vmlab_tests::outcome::Outcome;

use crate::{
    HOSTNAME, ONLY_HOSTNAME, booted, booted_then_good, goodbye, isolated, lab, leaked, passed_hostname, passing,
};

/// Runs one scenario with these outcomes of its legs.
fn run(name: &str, outcomes: &[(Leg, LegOutcome)]) -> Outcome {
    lab(vec![booted_then_good(scenario(1, name, outcomes))]).run(&[&format!("={name}")])
}

fn subject_and_control(subject: LegOutcome, control: LegOutcome) -> [(Leg, LegOutcome); 3] {
    [(Leg::Probe, LegOutcome::Available), (Leg::Subject, subject), (Leg::Control, control)]
}

#[test]
fn isolated_subject_and_leaking_control_pass() {
    let outcome = run(HOSTNAME, &passing());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    let legs: Vec<_> = outcome.report(HOSTNAME).legs.iter().map(|leg| leg.leg).collect();
    assert_eq!(legs, [Leg::Probe, Leg::Subject, Leg::Control]);
    assert_eq!(outcome.report(HOSTNAME).guest, Some(1));
}

#[test]
fn a_leaking_subject_fails() {
    let outcome = run(HOSTNAME, &subject_and_control(leaked(), leaked()));
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "not isolated: it showed");
}

#[test]
fn a_control_that_does_not_leak_is_vacuous() {
    let outcome = run(HOSTNAME, &subject_and_control(isolated(), isolated()));
    outcome.exits(exit::FAILED).has(HOSTNAME, "VACUOUS", "the control did not leak: nothing showed");
}

#[test]
fn a_documented_leak_is_as_expected() {
    let outcome = run("time.realtime", &subject_and_control(leaked(), leaked()));
    outcome.exits(exit::OK).has("time.realtime", "LEAK", "it showed");
}

#[test]
fn a_documented_leak_that_stopped_is_changed() {
    let outcome = run("time.realtime", &subject_and_control(isolated(), leaked()));
    outcome.exits(exit::FAILED).has("time.realtime", "CHANGED", "a documented leak has stopped: nothing showed");
}

fn missing() -> Vec<Action> {
    scenario(1, HOSTNAME, &[(Leg::Probe, LegOutcome::Missing { evidence: "unshare: EINVAL".to_owned() })])
}

#[test]
fn a_feature_that_the_kernel_was_built_without_is_skipped_with_the_symbol() {
    let outcome = lab(vec![booted_then_good(missing())]).without(&["CONFIG_UTS_NS"]).run(&[ONLY_HOSTNAME]);
    outcome.has(HOSTNAME, "SKIP", "needs CONFIG_UTS_NS (not set in this kernel): unshare: EINVAL");
    // A run in which all scenarios are skipped is no success.
    outcome.exits(exit::NOTHING_RAN);

    let guest = booted_then_good(missing());
    let outcome = lab(vec![guest]).without(&["CONFIG_UTS_NS"]).run(&[ONLY_HOSTNAME, "=uts.sysctl"]);
    outcome.exits(exit::OK).has(HOSTNAME, "SKIP", "CONFIG_UTS_NS").has("uts.sysctl", "PASS", "");
}

#[test]
fn a_feature_that_is_configured_and_missing_fails() {
    let outcome = lab(vec![booted_then_good(missing())]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "CONFIG_UTS_NS says that the feature is there, and it is not");
}

#[test]
fn a_leg_that_breaks_off_decides() {
    let died = LegOutcome::Died { how: "killed by SIGSEGV".to_owned() };
    let outcome = run(HOSTNAME, &subject_and_control(died, leaked()));
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "leg subject: its process killed by SIGSEGV");

    let failed = LegOutcome::Failed { detail: "sethostname: EPERM".to_owned() };
    let outcome = run(HOSTNAME, &subject_and_control(isolated(), failed));
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "leg control: sethostname: EPERM");

    let probe = LegOutcome::Failed { detail: "unshare: EPERM".to_owned() };
    let outcome = run(HOSTNAME, &[(Leg::Probe, probe)]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "leg probe: unshare: EPERM");
}

#[test]
fn after_a_leg_that_broke_off_the_rest_runs_in_a_fresh_guest() {
    for outcome in [LegOutcome::Died { how: "killed by SIGSEGV".to_owned() }, LegOutcome::TimedOut { limit_ms: 1 }] {
        let mut actions = scenario(1, "uts.domainname", &subject_and_control(outcome, leaked()));
        actions.extend([Action::AwaitFinish, goodbye(1)]);
        let outcome = lab(vec![booted(actions), Guest::good()]).run(&UTS);
        assert!(matches!(outcome.verdict("uts.domainname").0, "FAIL" | "TIMEOUT"));
        outcome.has(HOSTNAME, "PASS", "").has("uts.sysctl", "PASS", "");
        assert_eq!([HOSTNAME, "uts.sysctl"].map(|name| outcome.report(name).guest), [Some(2); 2]);
    }
}

#[test]
fn a_leg_that_the_agent_timed_out_is_a_timeout() {
    let outcome = run(HOSTNAME, &subject_and_control(LegOutcome::TimedOut { limit_ms: 60_000 }, leaked()));
    outcome.exits(exit::TIMED_OUT).has(HOSTNAME, "TIMEOUT", "leg subject did not end within its timeout of 60 s");
}

const SPLAT: &str = "[    3.141592] WARNING: CPU: 0 PID: 99 at kernel/utsname.c:42 clone_uts_ns+0x1/0x2\r\n";

#[test]
fn a_kernel_warning_fails_a_passing_scenario() {
    let mut actions = legs(1, HOSTNAME, &passing());
    actions.extend([console(SPLAT), finished(1)]);
    let outcome = lab(vec![booted_then_good(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "the kernel warned meanwhile: WARNING: CPU: 0 PID: 99");
    assert_eq!(outcome.report(HOSTNAME).warnings.len(), 1);
}

#[test]
fn a_warning_before_the_end_of_a_scenario_is_not_charged_to_the_next() {
    let mut actions = legs(1, HOSTNAME, &passing());
    actions.extend([console(SPLAT), finished(1), Action::ServeRest]);
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME, "=uts.sysctl"]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "WARNING: CPU: 0").has("uts.sysctl", "PASS", "");
}

#[test]
fn a_warning_between_two_scenarios_fails_the_first() {
    let mut actions = passed_hostname();
    actions.extend([console(SPLAT), Action::ServeRest]);
    let outcome = lab(vec![booted_then_good(actions)]).run(&[ONLY_HOSTNAME, "=uts.sysctl"]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "WARNING: CPU: 0").has("uts.sysctl", "PASS", "");
}

/// The second scenario ends before the console writes anything, as happens after vmlab was stopped. The kernel warned before
/// or after the host asked for that scenario.
#[test]
fn a_late_warning_is_charged_to_the_scenario_during_which_it_was_printed() {
    for is_firsts in [true, false] {
        let await_run = Action::AwaitRun("uts.sysctl".to_owned());
        let [first, second] = if is_firsts { [console(SPLAT), await_run] } else { [await_run, console(SPLAT)] };
        let mut actions = passed_hostname();
        actions.extend([Action::HoldConsole, first, second, started(2, "uts.sysctl")]);
        actions.extend(
            passing().iter().map(|(which, outcome)| vmlab_tests::fake::script::leg(2, *which, outcome.clone())),
        );
        actions.extend([finished(2), Action::ReleaseConsole, Action::ServeRest]);
        let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME, "=uts.sysctl"]);
        let (bad, good) = if is_firsts { (HOSTNAME, "uts.sysctl") } else { ("uts.sysctl", HOSTNAME) };
        outcome.exits(exit::FAILED).has(bad, "FAIL", "WARNING: CPU: 0").has(good, "PASS", "");
        assert_eq!(outcome.report(good).warnings, []);
    }
}

/// vmlab is stopped while the guest announces the second scenario and the kernel warns, so vmlab reads both at once.
#[test]
fn a_warning_right_after_an_announcement_is_charged_to_the_announced_scenario_only() {
    let mut actions = passed_hostname();
    actions.extend([
        Action::AwaitRun("uts.sysctl".to_owned()),
        Action::HostSleeps(true),
        started(2, "uts.sysctl"),
        console(SPLAT),
        Action::HostSleeps(false),
    ]);
    actions.extend(passing().iter().map(|(which, outcome)| vmlab_tests::fake::script::leg(2, *which, outcome.clone())));
    actions.extend([finished(2), Action::ServeRest]);
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME, "=uts.sysctl"]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "PASS", "").has("uts.sysctl", "FAIL", "WARNING: CPU: 0");
}

#[test]
fn a_kernel_that_breaks_after_a_scenario_gets_no_further_scenario() {
    let mut actions = passed_hostname();
    actions.extend([
        Action::HoldConsole,
        console("[    5.5] BUG: KASAN: slab-use-after-free in utsns_get+0x12/0x30\n"),
        Action::AwaitRun("uts.sysctl".to_owned()),
        started(2, "uts.sysctl"),
        Action::ReleaseConsole,
        Action::Hang,
    ]);
    let outcome = lab(vec![booted(actions), Guest::good()]).run(&[ONLY_HOSTNAME, "=uts.sysctl"]);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "BUG: KASAN").has("uts.sysctl", "PASS", "");
    assert_eq!([HOSTNAME, "uts.sysctl"].map(|name| outcome.report(name).guest), [Some(1), Some(2)]);
}

#[test]
fn a_console_that_ends_between_two_scenarios_spoils_the_first_and_the_second_runs_in_a_fresh_guest() {
    let mut actions = passed_hostname();
    actions.extend([Action::AwaitRun("uts.sysctl".to_owned()), started(2, "uts.sysctl"), Action::Hang]);
    actions.insert(0, Action::Close(Channel::Console));
    let outcome = lab(vec![booted(actions), Guest::good()]).run(&[ONLY_HOSTNAME, "=uts.sysctl"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "GARBLED", "the console was cut").has("uts.sysctl", "PASS", "");
}

#[test]
fn a_warning_while_booting_is_reported_and_fails_nothing() {
    let guest = Guest::new(vec![console(SPLAT), vmlab_tests::fake::script::hello(), Action::ServeRest]);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert!(outcome.notices().any(|text| text.contains("warned while it booted: WARNING: CPU: 0")), "{outcome:?}");
}

#[test]
fn a_boot_warning_that_comes_after_the_hello_fails_nothing() {
    let late = vec![Action::HoldConsole, console(SPLAT), vmlab_tests::fake::script::hello()];
    let guest = Guest::new([late, vec![Action::ReleaseConsole, Action::ServeRest]].concat());
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert!(outcome.notices().any(|text| text.contains("warned while it booted: WARNING: CPU: 0")), "{outcome:?}");
}

#[test]
fn output_is_kept_for_each_stream_with_a_bound() {
    let mut actions = legs(1, HOSTNAME, &passing()[..1]);
    actions.push(Action::Output(1, Leg::Subject, Stream::Stdout, b"out \x1b[31m\xff\n".to_vec()));
    actions.push(Action::Output(1, Leg::Subject, Stream::Stderr, vec![b'e'; 20_000]));
    actions
        .extend(passing()[1..].iter().map(|(leg, outcome)| vmlab_tests::fake::script::leg(1, *leg, outcome.clone())));
    actions.push(finished(1));
    let outcome = lab(vec![booted_then_good(actions)]).run(&[ONLY_HOSTNAME, "--verbose"]);
    outcome.exits(exit::OK);
    let report = outcome.report(HOSTNAME);
    assert_eq!(report.stdout, "out \x1b[31m\u{fffd}\n");
    assert_eq!((report.stderr.len(), report.output_dropped), (16 * 1024, 20_000 - 16 * 1024));
    assert!(!outcome.ended.stdout.contains('\x1b'), "a guest's escape reaches the terminal: {}", outcome.ended);
}
