//! The evidence of a lost guest: QMP events, QEMU's exit, and registers and memory, which are taken while QEMU still
//! runs.

use std::fs;

use serde_json::json;
use vmlab_events::exit;
use vmlab_events::loss::{Phase, QemuEnd, ShutdownLine, ShutdownReason};
use vmlab_tests::fake::qmp::MEMORY;
use vmlab_tests::fake::script::{Action, Channel, Guest, Qmp, console, ends, event, finished, leg, panics, started};
use vmlab_tests::outcome::record_dir;

use crate::{HOSTNAME, ONLY_HOSTNAME, booted, goodbye, lab, passed_hostname, passing};

const PANIC: &str = "[    4.2] Kernel panic - not syncing: Fatal exception\r\n";
const REST: &str = "[    4.3] ---[ end Kernel panic - not syncing: Fatal exception ]---\r\n";

/// A guest that does this while the scenario runs.
fn running(actions: impl IntoIterator<Item = Action>) -> Guest {
    booted([Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME)].into_iter().chain(actions))
}

/// A guest that panics, continues, prints the rest and resets itself, with a QEMU that does not end.
fn panicking() -> Vec<Action> {
    let mut actions = vec![console(PANIC)];
    actions.extend(panics());
    actions.extend([Action::AwaitCommand("cont".to_owned()), console(REST)]);
    actions.extend(ends("guest-reset"));
    actions.push(Action::Hang);
    actions
}

#[test]
fn a_panic_that_the_guest_reports_to_qemu_leaves_registers_and_the_whole_console() {
    let outcome = lab(vec![running(panicking())]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "Kernel panic - not syncing: Fatal exception");
    let loss = outcome.loss();
    assert!(loss.panic_reported && loss.vmcore.is_none() && loss.deadline.is_none(), "{loss:?}");
    assert_eq!(loss.registers.as_deref().map(str::trim), Some("CPU#0\nRIP=ffffffff81000000 RFL=00000046"));
    assert_eq!((loss.phase, loss.shutdown.as_ref().map(ShutdownReason::name)), (Phase::Running, Some("guest-reset")));
    assert_eq!(loss.qemu, QemuEnd::Lived { stopped: false });
    assert_eq!(loss.job.as_ref().map(|job| job.name()), Some(HOSTNAME));
    assert_eq!(loss.console[1..], [PANIC.trim_end(), REST.trim_end()]);
    assert!(outcome.ended.stdout.contains("RIP=ffffffff81000000"), "{}", outcome.ended);
}

#[test]
fn a_panic_without_console_output_is_a_crash() {
    let mut actions = panics().to_vec();
    actions.extend(ends("guest-reset"));
    actions.push(Action::Hang);
    let outcome = lab(vec![running(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "reported a panic to QEMU (pvpanic) while the scenario ran");
    outcome.has(HOSTNAME, "CRASH", "the console does not show it, and ends with: [    9.000000] vmlab: here");
}

#[test]
fn every_cause_of_a_shutdown_has_a_detail_of_its_own() {
    let said = |words: &str| console(&format!("[    4.2] {words}\r\n"));
    for (before, reason, words, shutdown_line) in [
        (
            said("reboot: Restarting system"),
            "guest-reset",
            "the guest rebooted itself while the scenario ran",
            Some(ShutdownLine::Restarting),
        ),
        (
            said("reboot: Power down"),
            "guest-shutdown",
            "the guest powered itself off while the scenario ran",
            Some(ShutdownLine::PowerDown),
        ),
        (said("nothing of interest"), "guest-reset", "a triple fault, or a reset through the hardware", None),
        (said("nothing of interest"), "host-signal", "a signal told QEMU to end (host-signal)", None),
        (said("nothing of interest"), "host-qmp-quit", "QEMU was told to end through its monitor", None),
    ] {
        let guest = running([vec![before], ends(reason).to_vec(), vec![Action::Hang]].concat());
        let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME]);
        outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", words);
        let loss = outcome.loss();
        assert_eq!(
            (loss.shutdown_line, loss.shutdown.as_ref().map(ShutdownReason::name)),
            (shutdown_line, Some(reason))
        );
        assert!(loss.registers.is_some(), "QEMU lives, and is asked: {loss:?}");
    }
}

#[test]
fn a_guest_that_halts_is_not_waited_for() {
    let guest = running([console("[    4.2] reboot: System halted\r\n"), Action::Hang]);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--scenario-timeout", "3"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", "the guest halted while the scenario ran");
}

#[test]
fn results_and_a_goodbye_before_a_power_off_count() {
    let mut actions = vec![Action::Serve(1), Action::AwaitFinish, crate::goodbye(1)];
    actions.extend(ends("guest-shutdown"));
    actions.push(Action::Hang);
    lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]).exits(exit::OK).has(HOSTNAME, "PASS", "");

    // Without a goodbye the guest is lost, and its last pass does not count.
    let actions = [passed_hostname(), vec![Action::AwaitFinish], ends("guest-shutdown").to_vec(), vec![Action::Hang]];
    let outcome = lab(vec![booted(actions.concat())]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", "the guest powered itself off before the guest's goodbye");
}

#[test]
fn a_qemu_that_a_signal_stops_is_a_fault_of_the_lab() {
    let guest = running([Action::Signal(19), Action::Hang]);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--silence-timeout", "1"]);
    outcome.exits(exit::LAB).has(
        HOSTNAME,
        "VANISHED",
        "a signal had stopped it (its state is T) while the scenario ran",
    );
    assert_eq!(outcome.loss().qemu, QemuEnd::Lived { stopped: true });
}

#[test]
fn a_closed_monitor_is_reported_for_a_guest_that_hangs() {
    let guest = running([Action::Close(Channel::Qmp), Action::Hang]);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME, "--scenario-timeout", "1"]);
    outcome.exits(exit::TIMED_OUT).has(HOSTNAME, "TIMEOUT", "QEMU had closed its QMP socket and lived on");
}

#[test]
fn a_watchdog_device_and_a_refused_command_are_reported() {
    let fired = event("WATCHDOG", &serde_json::json!({"action": "reset"}));
    let guest = running([vec![fired], ends("guest-reset").to_vec(), vec![Action::Hang]].concat());
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", "a watchdog device of the guest's ran out (reset)");
}

#[test]
fn a_dump_of_memory_is_written_if_asked_for() {
    let lab = lab(vec![running(panicking()), Guest::good()]);
    let outcome = lab.run(&["=uts.hostname", "=uts.sysctl", "--dump"]);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "Kernel panic").has("uts.sysctl", "PASS", "");
    let vmcore = outcome.loss().vmcore.clone().unwrap();
    assert_eq!((fs::read(&vmcore.path).unwrap().as_slice(), vmcore.bytes), (MEMORY, MEMORY.len() as u64));
    assert!(vmcore.path.starts_with(record_dir(&lab.env).unwrap().to_str().unwrap()), "{vmcore:?}");
    let words = format!("is in {} (0 MiB), without VMCOREINFO", vmcore.path);
    assert!(vmcore.vmcoreinfo == Some(false) && outcome.ended.stdout.contains(&words), "{}", outcome.ended);
}

#[test]
fn a_dump_of_memory_is_written_to_the_named_directory() {
    let lab = lab(vec![running(panicking())]);
    let dir = lab.file("cores");
    let outcome = lab.run(&[ONLY_HOSTNAME, "--no-record", &format!("--dump={}", dir.display())]);
    outcome.exits(exit::CRASHED);
    assert_eq!(fs::read(&outcome.loss().vmcore.as_ref().unwrap().path).unwrap(), MEMORY);
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1);

    let ended = lab.env.run(&lab.arguments(&[ONLY_HOSTNAME, "--no-record", "--dump"]));
    ended.exits(exit::USAGE);
    assert!(ended.stderr.contains("give --dump=DIR"), "{ended}");
}

#[test]
fn other_evidence_survives_a_dump_that_fails() {
    let lab = lab(vec![running(panicking()).with_qmp(Qmp::RefusesDumps)]);
    let outcome = lab.run(&[ONLY_HOSTNAME, "--dump"]);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "Kernel panic");
    assert!(outcome.loss().registers.is_some() && outcome.loss().vmcore.is_none());
    let notice =
        |text: &str| text.contains("the memory of guest 1 is not saved") && text.contains("failed to save memory");
    assert!(outcome.notices().any(notice), "{}", outcome.ended);
    let left = fs::read_dir(record_dir(&lab.env).unwrap()).unwrap().flatten();
    let names: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("vmcore")), "{names:?}");
}

#[test]
fn the_report_has_a_bounded_end_of_the_console() {
    let lines: String = (1..=1000).map(|n| format!("[    1.0] line {n}\r\n")).collect();
    let outcome = lab(vec![running([console(&lines), Action::Exit(0)])]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", "QEMU exited with 0 by itself while the scenario ran");
    let console = &outcome.loss().console;
    assert_eq!((console.len(), console.last().map(String::as_str)), (200, Some("[    1.0] line 1000")));
    let human = &outcome.ended.stdout;
    assert!(human.contains("line 1000") && human.contains("line 981") && !human.contains("line 980"), "{human}");
    assert!(human.contains("(180 earlier lines left out)") && human.contains("console-1.log"), "{human}");
}

/// After QEMU's event, the guest sends results as if nothing had happened. An honest QEMU has no such guest.
#[test]
fn a_panic_or_reset_that_qemu_reports_counts_even_if_the_guest_sends_results() {
    let reason = |reason: &str| json!({"guest": true, "reason": reason});
    for (name, data, word, code) in [
        ("GUEST_PANICKED", json!({"action": "pause"}), "CRASH", exit::CRASHED),
        ("SHUTDOWN", reason("guest-panic"), "CRASH", exit::CRASHED),
        ("SHUTDOWN", reason("guest-reset"), "VANISHED", exit::LAB),
        ("RESET", reason("guest-reset"), "VANISHED", exit::LAB),
        ("WATCHDOG", json!({"action": "none"}), "VANISHED", exit::LAB),
    ] {
        let mut actions = vec![Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME), event(name, &data)];
        actions.extend(passing().iter().map(|(which, outcome)| leg(1, *which, outcome.clone())));
        actions.extend([finished(1), Action::AwaitFinish, goodbye(1), Action::Hang]);
        let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]);
        outcome.exits(code).has(HOSTNAME, word, "");
    }
}
