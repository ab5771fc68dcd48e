//! The link: a message that is damaged, out of order or unasked for never becomes a result.

use vmlab_events::exit;
use vmlab_protocol::message::{GuestMessage, Leg, LegOutcome, Stream};
use vmlab_tests::UTS;
use vmlab_tests::fake::script::{Action, Channel, Damage, Guest, finished, hello, leg, legs, scenario, started};
use vmlab_tests::outcome::Outcome;

use crate::{HOSTNAME, ONLY_HOSTNAME, booted, goodbye, isolated, lab, leaked, passed_hostname, passing};

/// Runs one scenario in a guest that boots, does this and then hangs.
fn run(actions: impl IntoIterator<Item = Action>) -> Outcome {
    lab(vec![booted(actions.into_iter().chain([Action::Hang]))]).run(&[ONLY_HOSTNAME])
}

fn is_garbled(actions: impl IntoIterator<Item = Action>, words: &str) {
    run(actions).exits(exit::LAB).has(HOSTNAME, "GARBLED", words);
}

/// The host's order for the scenario and the scenario's announcement.
fn announced() -> Vec<Action> {
    vec![Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME)]
}

fn after_announcement(action: Action) -> Vec<Action> {
    [announced(), vec![action]].concat()
}

#[test]
fn garbage_is_a_violation_at_any_time() {
    let garbage = || Action::Port(b"login: ".to_vec());
    let outcome = lab(vec![Guest::new(vec![garbage(), Action::Hang])]).run(&UTS);
    outcome.exits(exit::LAB).has(HOSTNAME, "GARBLED", "bytes outside of any frame; 7 bytes are lost");
    assert_eq!(outcome.guests(), 1);
    is_garbled([garbage()], "the link is damaged");
    is_garbled(after_announcement(garbage()), "the link is damaged");
    let mut actions = passed_hostname();
    actions.push(garbage());
    is_garbled(actions, "the link is damaged");
}

#[test]
fn one_flipped_bit_anywhere_is_a_violation() {
    // A bit each of magic, header version, kind, flags, length, checksum and payload.
    for bit in [0, 4 * 8, 5 * 8, 6 * 8, 8 * 8, 12 * 8, 16 * 8 + 3, 40 * 8 + 1] {
        let message = GuestMessage::JobFinished { run: 1 };
        let mut actions = legs(1, HOSTNAME, &passing());
        // More bytes follow, so that a frame whose length grew is complete.
        actions.extend([Action::SayDamaged(message, Damage::FlipBit(bit)), Action::Port(vec![0; 600])]);
        is_garbled(actions, "the link is damaged");
    }
}

#[test]
fn a_frame_that_announces_too_much_is_a_violation_at_once() {
    for announced in [(1 << 20) + 1, u32::MAX] {
        let message = GuestMessage::JobFinished { run: 1 };
        let mut actions = legs(1, HOSTNAME, &passing());
        actions.push(Action::SayDamaged(message, Damage::Announce(announced)));
        is_garbled(actions, &format!("a frame that announces {announced} bytes (limit 1048576)"));
    }
}

#[test]
fn a_frame_that_the_end_of_the_link_truncates_is_reported() {
    for length in [1, 15, 16, 40] {
        let mut actions = legs(1, HOSTNAME, &passing());
        let cut = Action::SayDamaged(GuestMessage::JobFinished { run: 1 }, Damage::Truncate(length));
        actions.extend([cut, Action::Exit(0)]);
        let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]);
        outcome.exits(exit::LAB);
        outcome.has(HOSTNAME, "VANISHED", &format!("the stream ended within a frame: {length} of "));
    }
}

#[test]
fn results_of_scenarios_that_were_not_started_are_refused() {
    let probe = || leg(1, Leg::Probe, LegOutcome::Available);
    is_garbled([probe()], "came while");
    is_garbled([Action::AwaitRun(HOSTNAME.to_owned()), probe()], "came while the start of uts.hostname was due");
    is_garbled([Action::AwaitRun(HOSTNAME.to_owned()), finished(1)], "came while the start of uts.hostname was due");
    is_garbled([Action::AwaitRun(HOSTNAME.to_owned()), started(1, "uts.sysctl")], "came while the start of");
    is_garbled([Action::AwaitRun(HOSTNAME.to_owned()), started(2, HOSTNAME)], "came while the start of");
    is_garbled(after_announcement(leg(2, Leg::Probe, LegOutcome::Available)), "came while uts.hostname ran");
    is_garbled(after_announcement(finished(2)), "came while uts.hostname ran");
}

#[test]
fn a_missing_or_misplaced_leg_is_a_violation() {
    is_garbled(after_announcement(leg(1, Leg::Subject, isolated())), "leg subject ended, probe was due");
    is_garbled(after_announcement(finished(1)), "ended before its leg probe");
    is_garbled(scenario(1, HOSTNAME, &passing()[..2]), "ended before its leg control");
    let twice = [passing().to_vec(), passing()[2..].to_vec()].concat();
    is_garbled(legs(1, HOSTNAME, &twice), "leg control ended, nothing was due");
    is_garbled(after_announcement(leg(1, Leg::Probe, leaked())), "leg probe cannot end as");
    let missing = LegOutcome::Missing { evidence: "x".to_owned() };
    is_garbled(legs(1, HOSTNAME, &[(Leg::Probe, LegOutcome::Available), (Leg::Subject, missing)]), "cannot end as");
}

#[test]
fn a_lost_or_repeated_message_is_a_violation() {
    let probe = || GuestMessage::LegFinished {
        run: 1,
        leg: Leg::Probe,
        outcome: LegOutcome::Available,
        duration_ns: 1,
        output_dropped: 0,
    };
    is_garbled(after_announcement(Action::SayAs(4, probe())), "message 3 was due and message 4 came");
    is_garbled(after_announcement(Action::SayAs(2, probe())), "message 3 was due and message 2 came");
    is_garbled([hello()], "came while");
}

#[test]
fn output_outside_a_scenario_is_refused() {
    let output = |run| Action::Output(run, Leg::Subject, Stream::Stdout, b"x".to_vec());
    is_garbled([Action::AwaitRun(HOSTNAME.to_owned()), output(1)], "output of run 1 came while");
    is_garbled(after_announcement(output(7)), "output of run 7 came while");
}

#[test]
fn a_refusal_is_no_result() {
    let refused = Action::Say(GuestMessage::Refused { run: 1, why: "no scenario is named so".to_owned() });
    is_garbled([Action::AwaitRun(HOSTNAME.to_owned()), refused], "the guest refused uts.hostname: no scenario is");
}

#[test]
fn an_early_goodbye_is_a_violation() {
    is_garbled([goodbye(0)], "RunFinished");
    is_garbled(after_announcement(goodbye(1)), "RunFinished");
    let mut miscounted = passed_hostname();
    miscounted.extend([Action::AwaitFinish, goodbye(2)]);
    is_garbled(miscounted, "the guest counts 2 jobs, 1 were announced");
}

#[test]
fn no_message_after_the_goodbye_counts() {
    for after in [goodbye(1), Action::Port(vec![0xff; 100]), finished(1)] {
        let mut actions = passed_hostname();
        actions.extend([Action::AwaitFinish, goodbye(1), after]);
        run(actions).exits(exit::OK).has(HOSTNAME, "PASS", "");
    }
}

#[test]
fn a_port_that_closes_while_qemu_runs_is_a_loss_within_the_limit() {
    let guest = Guest::new(vec![Action::Close(Channel::Port), Action::Hang]);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--boot-timeout", "1"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "the guest closed its control port and did not end within");
}

#[test]
fn after_a_violation_the_rest_runs_in_a_fresh_guest() {
    let bad = booted([Action::AwaitRun("uts.domainname".to_owned()), goodbye(0), Action::Hang]);
    let outcome = lab(vec![bad, Guest::good()]).run(&UTS);
    outcome.exits(exit::LAB).has("uts.domainname", "GARBLED", "RunFinished");
    outcome.has(HOSTNAME, "PASS", "").has("uts.sysctl", "PASS", "");
}
