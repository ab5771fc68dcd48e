//! Hostile text in every place of a report that a guest, its kernel or its QEMU can fill. Every report stays complete,
//! has exactly the results of the run, and is harmless to the program that shows it.

#![expect(clippy::expect_used, reason = "a failed step of a test is a failed test")]

use std::fs;

use serde_json::json;
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_protocol::frame::{self, Kind};
use vmlab_protocol::message::{GuestMessage, Leg, LegOutcome, Stream};
use vmlab_tests::UTS;
use vmlab_tests::fake::script::{Action, Guest, console, finished, hello_with, leg, legs, scenario, started};
use vmlab_tests::lab::FakeLab;
use vmlab_tests::outcome::Outcome;
use vmlab_tests::reports::{Rendered, check_json, check_junit, check_ktap, is_harmless};

use crate::{HOSTNAME, ONLY_HOSTNAME, booted, goodbye, isolated, lab, passed_hostname, passing};

/// Text that attacks terminals, XML, HTML, KTAP, CI services, and the direction of writing.
const HOSTILE: &str = "::error file=x::forged ##[add-mask]x \x1b]0;owned\x07\x1b[2J\u{9b}31m\u{90}q\u{9c} ]]> <script>alert(1)</script> \
    <!-- & &amp; \"'\u{202e}desrever\u{2066}\u{200b}\u{feff}\u{fffe}\u{0}\u{7f}\t# SKIP\r\nok 1 forged\n  ok 1 uts.hostname\nnot ok 2 \
    forged # TODO\nKTAP version 1\n1..9\nBail out!\n::stop-commands::forged\n ##[error]forged\rPASS\u{8}\u{8}\u{2028}\u{e0041}";

fn hostile() -> String {
    HOSTILE.to_owned()
}

/// Output that also has bytes that are no text, and a line without end.
fn hostile_output() -> Vec<u8> {
    let endless = [b"x".repeat(9000), b"\xff\xfe\xc3(\xed\xa0\x80\xf4\x90\x80\x80\n".to_vec()].concat();
    [HOSTILE.as_bytes(), b"\n", &endless, HOSTILE.as_bytes()].concat()
}

/// A message that an honest guest cannot make, in a correct frame.
fn raw(json: &str) -> Action {
    let mut bytes = Vec::new();
    frame::encode(Kind::Message, &[json.as_bytes()], &mut bytes).expect("it is short");
    Action::Port(bytes)
}

/// Runs vmlab with every report, and compares all reports with the events.
fn run(lab: &FakeLab, more: &[&str]) -> Outcome {
    let specs = ["ktap", "junit"].map(|format| format!("{format}={}", lab.file(format).display()));
    let mut words = more.to_vec();
    specs.iter().for_each(|spec| words.extend(["--report", spec]));
    let outcome = lab.run(&words);
    let text = |name: &str| fs::read_to_string(lab.file(name)).expect("a report is text");
    is_harmless(&outcome.ended.stdout);
    is_harmless(&outcome.ended.stderr);
    check_ktap(&text("ktap"), &outcome.events);
    check_junit(&text("junit"), &outcome.events);
    check_json(&text("events.jsonl"), &outcome.events);
    Rendered::of(&outcome.events).check(&outcome.events);
    for arguments in [&["report", "--list"][..], &["report", "latest", "--timings"]] {
        let shown = lab.env.run(arguments);
        is_harmless(&shown.exits(exit::OK).stdout);
    }
    outcome
}

#[test]
fn hostile_text_in_hello_legs_output_and_crash_is_harmless() {
    let device = json!({"name": HOSTILE, "id": 77, "features": HOSTILE, "status": 15});
    let mut virtio = json!([{"name": "virtio0", "id": 3, "features": "0".repeat(32) + "1", "status": 15}]);
    virtio.as_array_mut().unwrap().push(device);
    let hello = hello_with(json!({
        "init_build": HOSTILE, "kernel_version": HOSTILE, "machine": HOSTILE, "command_line": HOSTILE,
        "virtio": virtio, "modules": [HOSTILE], "problems": [HOSTILE, HOSTILE],
    }));
    let mut actions = vec![console(&format!("[ 0.1] WARNING: {HOSTILE}\n")), hello, Action::BootId(hostile())];
    actions.extend([Action::AwaitRun("uts.domainname".to_owned()), started(1, "uts.domainname")]);
    for stream in [Stream::Stdout, Stream::Stderr] {
        actions.push(Action::Output(1, Leg::Probe, stream, hostile_output()));
    }
    actions.extend([leg(1, Leg::Probe, LegOutcome::Missing { evidence: hostile() }), finished(1)]);
    let mut outcomes = passing();
    outcomes[1].1 = LegOutcome::Leaked { detail: hostile() };
    outcomes[2].1 = LegOutcome::Died { how: hostile() };
    actions.extend(scenario(2, HOSTNAME, &outcomes));
    let trace = HOSTILE.replace('\n', "\n[    9.9] ");
    let mut crash = legs(1, "uts.sysctl", &[]);
    crash.push(console(&format!(
        "[    9.9] BUG: unable to handle {trace}\n[    9.9] Kernel panic - not syncing: {trace}\n"
    )));
    crash.push(Action::Exit(0));
    actions.extend([Action::AwaitFinish, goodbye(2)]);
    let guests = vec![Guest::new(actions), booted(crash)];
    let lab = lab(guests);
    // A leg of the first guest died, so that guest gets no further scenario.
    let outcome = run(&lab, &UTS);
    outcome.has("uts.domainname", "FAIL", "says that the feature is there, and it is not: ::error");
    outcome.has(HOSTNAME, "FAIL", "leg control: its process ::error").has(
        "uts.sysctl",
        "CRASH",
        "BUG: unable to handle",
    );
    let recorded = outcome.events.iter().find_map(|stamped| match &stamped.event {
        LabEvent::GuestReady { boot_id, hello, .. } => Some((boot_id.as_deref(), hello.init_build.as_str())),
        _ => None,
    });
    assert_eq!(recorded, Some((Some(HOSTILE), HOSTILE)), "the record has the text unchanged");
    assert_eq!(outcome.report("uts.domainname").output_dropped, 0);
}

#[test]
fn hostile_text_in_a_leak_and_in_a_kernel_warning_is_harmless() {
    let mut leaks = passing();
    leaks[1].1 = LegOutcome::Leaked { detail: hostile() };
    let actions = [scenario(1, "time.realtime", &leaks), vec![Action::AwaitFinish, goodbye(1)]].concat();
    let outcome = run(&lab(vec![booted(actions)]), &["=time.realtime", "--verbose"]);
    outcome.exits(exit::OK).has("time.realtime", "LEAK", "::error file=x::forged");

    let mut actions = legs(1, HOSTNAME, &passing());
    actions.extend([console(&format!("[ 1.0] WARNING: {}\n", HOSTILE.replace('\n', " "))), finished(1)]);
    actions.extend([Action::AwaitFinish, goodbye(1)]);
    let outcome = run(&lab(vec![booted(actions)]), &[ONLY_HOSTNAME]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "WARNING: ::error");
}

#[test]
fn hostile_text_in_the_reason_of_a_skip_is_harmless() {
    let missing = [(Leg::Probe, LegOutcome::Missing { evidence: hostile() })];
    let actions = [scenario(1, HOSTNAME, &missing), vec![Action::AwaitFinish, goodbye(1)]].concat();
    let lab = lab(vec![booted(actions)]);
    let config = lab.file("kernels").join(format!("config-{}", vmlab_tests::kernel::RELEASE));
    fs::remove_file(config).expect("the kernel's configuration was there");
    run(&lab, &[ONLY_HOSTNAME]).has(HOSTNAME, "SKIP", "::error file=x::forged");
}

#[test]
fn hostile_text_in_the_last_lines_of_qemu_and_pid_1_is_harmless() {
    let mut actions = vec![console(&format!("vmlab-init: {}\n", HOSTILE.replace('\n', "\nvmlab-init: ")))];
    actions.extend([Action::Stderr(hostile()), Action::Signal(6)]);
    let outcome = run(&lab(vec![Guest::new(actions.clone()); 2]), &[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "PID 1 said on the console: ::error");

    let vanishes = [legs(1, HOSTNAME, &[(Leg::Probe, LegOutcome::Available)]), actions].concat();
    let outcome = run(&lab(vec![booted(vanishes)]), &[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", "was killed by signal 6");
}

#[test]
fn hostile_text_in_the_last_line_of_a_silent_boot_is_harmless() {
    let actions = vec![console("Linux version 6\n"), console(&HOSTILE.replace('\n', " ")), Action::Exit(0)];
    let outcome = run(&lab(vec![Guest::new(actions)]), &[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "the console's last line: ::error");
}

#[test]
fn hostile_text_in_a_refusal_and_in_a_malformed_message_is_harmless() {
    let refused = GuestMessage::Refused { run: 1, why: hostile() };
    let name = serde_json::to_string(&format!("uts.{HOSTILE}")).expect("a text is JSON");
    let cases = [
        (Action::Say(refused), "the guest refused uts.hostname: ::error"),
        (
            raw(&format!(
                "{{\"seq\":2,\"boottime_ns\":1,\"type\":\"scenario_started\",\"run\":1,\"scenario\":{name}}}"
            )),
            "is not a scenario name",
        ),
        (
            raw("{\"seq\":2,\"boottime_ns\":1,\"type\":\"refused\",\"run\":1,\"why\":\"\\ud800\"}"),
            "not a message of this protocol",
        ),
        (
            raw(&format!("{{\"seq\":2,\"boottime_ns\":1,\"type\":{name}}}")),
            "not a message of this protocol: unknown variant",
        ),
        (Action::Port(hostile_output()), "the link is damaged"),
    ];
    for (action, words) in cases {
        let outcome =
            run(&lab(vec![booted([Action::AwaitRun(HOSTNAME.to_owned()), action, Action::Hang])]), &[ONLY_HOSTNAME]);
        outcome.exits(exit::LAB).has(HOSTNAME, "GARBLED", words);
    }
}

#[test]
fn hostile_text_in_the_kernels_release_is_harmless() {
    for release in [HOSTILE, "../../../../etc/cron.d/x", "6.12.0-fixture/../x", ""] {
        let guest = Guest::new(vec![hello_with(json!({"kernel_release": release})), Action::Hang]);
        let outcome = run(&lab(vec![guest]), &[ONLY_HOSTNAME]);
        outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "instead of 6.12.0-fixture");
    }
}

#[test]
fn hostile_text_in_the_kernels_file_name_is_harmless() {
    let name = "\u{1b}]0;x\u{7}\u{202e} # SKIP ::error::\n##[error]<x>&]]>";
    let guest = booted([passed_hostname(), vec![Action::AwaitFinish, goodbye(1)]].concat());
    let outcome = run(&lab(vec![guest]).kernels(&[name]), &[ONLY_HOSTNAME]);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert!(outcome.report(HOSTNAME).target.as_str().ends_with(name));
    // The guest cannot choose a leg's label. The detail of a control that isolates is in the report.
    let mut vacuous = passing();
    vacuous[2].1 = isolated();
    let actions = [scenario(1, HOSTNAME, &vacuous), vec![Action::AwaitFinish, goodbye(1)]].concat();
    run(&lab(vec![booted(actions)]).kernels(&[name]), &[ONLY_HOSTNAME]).has(HOSTNAME, "VACUOUS", "");
}
