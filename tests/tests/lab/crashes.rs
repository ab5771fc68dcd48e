//! Guests that end too early.

use serde_json::json;
use vmlab_events::exit;
use vmlab_protocol::message::LegOutcome;
use vmlab_tests::fake::script::{Action, Channel, Guest, Qmp, console, finished, hello, legs, started};

use vmlab_tests::UTS;

use crate::{HOSTNAME, ONLY_HOSTNAME, booted, booted_then_good, goodbye, lab, leaked, passed_hostname, passing};

const PANIC: &str = "[    4.200000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\r\n\
    [    4.200001] CPU: 0 PID: 1 Comm: init Not tainted 6.12.0-fixture #1\r\n\
    [    4.200002] Call Trace:\r\n";

/// QEMU's event with the reason why the guest ends.
fn shutdown(reason: &str) -> Action {
    let event = json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": reason}, "timestamp": {"seconds": 1, "microseconds": 2}});
    Action::Qmp(event.to_string())
}

fn sigkill() -> Action {
    Action::Signal(9)
}

#[test]
fn a_panic_in_a_scenario_is_a_crash_and_the_rest_runs_in_a_fresh_guest() {
    let mut actions = vec![Action::Serve(1), Action::AwaitRun(HOSTNAME.to_owned()), started(2, HOSTNAME)];
    actions.extend([console(PANIC), Action::Exit(0)]);
    let outcome = lab(vec![booted(actions), Guest::good()]).run(&UTS);
    outcome.exits(exit::CRASHED);
    outcome.has("uts.domainname", "PASS", "").has("uts.sysctl", "PASS", "");
    outcome.has(HOSTNAME, "CRASH", "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b");
    let vmlab_events::verdict::Verdict::KernelCrashed { trace, .. } = &outcome.report(HOSTNAME).verdict else {
        panic!()
    };
    assert_eq!(trace.len(), 3);
    let guests = ["uts.domainname", HOSTNAME, "uts.sysctl"].map(|name| outcome.report(name).guest);
    assert_eq!(guests, [Some(1), Some(1), Some(2)]);
}

#[test]
fn a_panic_while_booting_is_a_crash_of_all_scenarios_and_is_not_retried() {
    let outcome = lab(vec![Guest::new(vec![console(PANIC), Action::Exit(0)])]).run(&UTS);
    outcome.exits(exit::CRASHED);
    for name in ["uts.domainname", HOSTNAME, "uts.sysctl"] {
        outcome.has(name, "CRASH", "Kernel panic - not syncing");
    }
    assert_eq!(outcome.guests(), 1);
}

#[test]
fn too_little_memory_is_reported_with_the_option_that_sets_it() {
    let words = "[    1.0] Kernel panic - not syncing: System is deadlocked on memory\r\n";
    let outcome = lab(vec![Guest::new(vec![console(words), Action::Exit(0)])]).run(&[ONLY_HOSTNAME, "--memory", "32"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "it has 32 MiB, give it more with --memory");

    // The memory is so small that the kernel overwrites the image.
    let words = "[    1.0] Initramfs unpacking failed: invalid magic at start of compressed archive\r\n\
        [    2.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n";
    let outcome = lab(vec![Guest::new(vec![console(words), Action::Exit(0)])]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "Initramfs unpacking failed: invalid magic");
    outcome.has(HOSTNAME, "NO-BOOT", "it has 256 MiB, give it more with --memory");

    // The memory is so small that the kernel's boot code resets the guest.
    let words = "Probing EDD (edd=off to disable)... ok\r\n";
    let guest = Guest::new(vec![console(words), shutdown("guest-reset"), Action::Exit(0)]);
    let outcome = lab(vec![guest]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "the kernel itself said nothing");
    outcome.has(HOSTNAME, "NO-BOOT", "Probing EDD").has(HOSTNAME, "NO-BOOT", "give it more with --memory");
    outcome.has(HOSTNAME, "NO-BOOT", "QEMU shut down (guest-reset)");
}

#[test]
fn a_boot_that_ends_in_silence_is_reported_with_its_last_line() {
    let words = "[    0.0] Linux version 6.12.0-fixture\r\n[    0.1] Poking KASLR using RDRAND RDTSC...\r\n\r\n";
    let outcome = lab(vec![Guest::new(vec![console(words), Action::Exit(0)])]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB);
    outcome.has(
        HOSTNAME,
        "NO-BOOT",
        "QEMU exited with 0 by itself before the guest's hello; the console's last line: [    0.1] Poking",
    );
}

#[test]
fn a_scenario_whose_guest_vanishes_is_vanished_and_the_rest_runs_in_a_fresh_guest() {
    let mut actions = vec![Action::AwaitRun("uts.domainname".to_owned()), started(1, "uts.domainname")];
    actions.extend([Action::Stderr("qemu: out of luck".to_owned()), Action::Signal(6)]);
    let outcome = lab(vec![booted(actions), Guest::good()]).run(&UTS);
    outcome.exits(exit::LAB).has("uts.domainname", "VANISHED", "QEMU was killed by signal 6");
    outcome.has("uts.domainname", "VANISHED", "qemu: out of luck");
    outcome.has(HOSTNAME, "PASS", "").has("uts.sysctl", "PASS", "");
    assert_eq!(outcome.guests(), 2);
}

/// The guest that lives finds nothing wrong; the job still has the verdict of the guest that was lost.
#[test]
fn a_job_in_two_guests_has_the_verdict_of_the_guest_that_is_lost() {
    const PIDS: &str = "cluster.pids";
    let lost = || {
        let actions = [Action::AwaitRun(PIDS.to_owned()), started(1, PIDS), Action::Signal(6)];
        booted(actions)
    };
    for guests in [[lost(), Guest::good()], [Guest::good(), lost()]] {
        let outcome = lab(guests.to_vec()).run(&["=cluster.pids", "--jobs", "1"]);
        outcome.exits(exit::LAB).has(PIDS, "VANISHED", "QEMU was killed by signal 6");
        let report = outcome.report(PIDS);
        let peer = report.peer.as_ref().unwrap();
        // Which of the two takes which script is left to chance, so one report or the other has the legs.
        assert!(report.legs.is_empty() != peer.legs.is_empty(), "{report:?}");
        assert_eq!(outcome.guests(), 2);
    }
}

#[test]
fn an_orderly_exit_of_qemu_during_a_scenario_is_a_loss() {
    let mut actions = legs(1, HOSTNAME, &passing());
    actions.extend([shutdown("guest-reset"), Action::Exit(0)]);
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", "QEMU exited with 0");
    outcome.has(HOSTNAME, "VANISHED", "QEMU shut down (guest-reset)");
    assert_eq!(outcome.report(HOSTNAME).legs.len(), 3, "what was found is kept");
}

#[test]
fn guests_that_always_vanish_at_the_same_scenario_are_given_up() {
    let vanishes = |name: &str| booted([Action::AwaitRun(name.to_owned()), sigkill()]);
    let guests = ["uts.domainname", HOSTNAME, "uts.sysctl"].map(vanishes);
    let outcome = lab(guests.to_vec()).run(&UTS);
    outcome.exits(exit::LAB);
    for name in ["uts.domainname", HOSTNAME, "uts.sysctl"] {
        outcome.has(name, "VANISHED", "QEMU was killed by signal 9");
    }
    assert_eq!(outcome.guests(), 3);
}

#[test]
fn a_qemu_that_ends_before_the_hello_is_quoted() {
    let words = "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory";
    let dies = Guest::new(vec![Action::Stderr(words.to_owned()), Action::Exit(1)]);
    let outcome = lab(vec![dies; 2]).run(&UTS);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", words).has(HOSTNAME, "NO-BOOT", "QEMU exited with 1");
    assert_eq!(outcome.guests(), 2, "a boot that the host lost is tried once more");
}

#[test]
fn a_missing_control_port_is_explained() {
    let words = "\r\nvmlab-init: no virtio-serial port named org.vmlab.control.0 appeared within 10000 ms\r\n";
    let outcome = lab(vec![Guest::new(vec![console(words), Action::Exit(0)])]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB);
    outcome.has(HOSTNAME, "NO-BOOT", "the guest has no control port: its kernel has no working virtio-console driver");
}

#[test]
fn a_crash_before_the_goodbye_belongs_to_the_last_scenario() {
    let mut actions = passed_hostname();
    actions.extend([Action::AwaitFinish, console(PANIC), Action::Exit(0)]);
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "Kernel panic");
}

#[test]
fn a_guest_that_vanishes_before_its_goodbye_changes_a_pass_but_no_failure() {
    let mut actions = passed_hostname();
    actions.extend([Action::AwaitFinish, sigkill()]);
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "VANISHED", "killed by signal 9");

    let mut outcomes = passing();
    outcomes[1].1 = leaked();
    let mut actions = legs(1, HOSTNAME, &outcomes);
    actions.extend([finished(1), Action::AwaitFinish, sigkill()]);
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "not isolated");
}

#[test]
fn a_crash_beats_the_verdict_of_the_legs() {
    let mut outcomes = passing();
    outcomes[1].1 = LegOutcome::Died { how: "killed by SIGKILL".to_owned() };
    let mut actions = legs(1, HOSTNAME, &outcomes);
    actions.extend([console("[    9.9][   T99] BUG: unable to handle page fault for address: 0\r\n"), finished(1)]);
    let outcome = lab(vec![booted_then_good(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "BUG: unable to handle page fault");
}

#[test]
fn a_kernel_that_survives_an_oops_gets_no_further_scenario() {
    let broken = "[    5.5][   T12] BUG: KASAN: slab-use-after-free in utsns_get+0x12/0x30\n";
    let mut actions = legs(1, "uts.domainname", &passing());
    actions.extend([console(broken), finished(1), Action::AwaitFinish, goodbye(1)]);
    let outcome = lab(vec![booted(actions), Guest::good()]).run(&UTS);
    outcome.exits(exit::CRASHED).has("uts.domainname", "CRASH", "BUG: KASAN: slab-use-after-free");
    outcome.has(HOSTNAME, "PASS", "").has("uts.sysctl", "PASS", "");
    assert_eq!(outcome.guests(), 2);

    let outcome = lab(vec![Guest::new(vec![console(broken), hello(), Action::ServeRest])]).run(&UTS);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "BUG: KASAN: slab-use-after-free");
    assert_eq!(outcome.guests(), 1);
}

#[test]
fn a_console_report_that_comes_after_the_port_has_closed_counts() {
    // The line has no end, and the port closes before the console writes it.
    let mut actions = legs(1, HOSTNAME, &passing());
    actions.extend([Action::Close(Channel::Port), console("Kernel panic - not syncing: late"), Action::Exit(0)]);
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::CRASHED).has(HOSTNAME, "CRASH", "Kernel panic - not syncing: late");
}

#[test]
fn unknown_events_silence_or_a_closed_monitor_change_no_verdict() {
    let unknown = r#"{"event": "FROM_THE_FUTURE", "data": {"x": [1]}, "timestamp": {"seconds": 1, "microseconds": 2}}"#;
    let chatty = vec![hello(), Action::Qmp(unknown.to_owned()), Action::Qmp("no JSON at all".to_owned())];
    let guests = [
        Guest::new([chatty, vec![Action::ServeRest]].concat()),
        Guest::good().with_qmp(Qmp::Silent),
        Guest::good().with_qmp(Qmp::Closed),
        booted([Action::Close(Channel::Qmp), Action::ServeRest]),
    ];
    for guest in guests {
        lab(vec![guest]).run(&[ONLY_HOSTNAME]).exits(exit::OK).has(HOSTNAME, "PASS", "");
    }
}

#[test]
fn a_console_that_closes_early_ends_no_guest_and_allows_no_pass() {
    let actions = [vec![Action::Close(Channel::Console)], passed_hostname(), vec![Action::AwaitFinish, goodbye(1)]];
    let outcome = lab(vec![booted(actions.concat())]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "GARBLED", "the console was cut");
    assert_eq!(outcome.report(HOSTNAME).legs.len(), 3, "what it said counts as far as it went");
}

/// The goodbye can arrive before the rest of the console.
#[test]
fn a_warning_after_the_goodbye_is_waited_for() {
    let splat = console("[    3.1] WARNING: CPU: 0 PID: 99 at kernel/utsname.c:42 clone_uts_ns+0x1/0x2\r\n");
    let late = vec![Action::HoldConsole, Action::AwaitFinish, splat, goodbye(1), Action::ReleaseConsole];
    let actions = [passed_hostname(), late].concat();
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::FAILED).has(HOSTNAME, "FAIL", "the kernel warned meanwhile");
}

#[test]
fn a_console_that_ends_before_its_marker_allows_no_pass() {
    let late = vec![Action::HoldConsole, Action::AwaitFinish, goodbye(1), Action::Exit(0)];
    let outcome = lab(vec![booted([passed_hostname(), late].concat())]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::LAB).has(HOSTNAME, "GARBLED", "the console was cut");
}

/// The run ends while the console is late, so a warning could be missing.
#[test]
fn a_run_that_ends_before_the_console_has_caught_up_allows_no_pass() {
    let late = vec![Action::HoldConsole, Action::AwaitFinish, goodbye(1), Action::Hang];
    let outcome = lab(vec![booted([passed_hostname(), late].concat())]).run(&[ONLY_HOSTNAME, "--timeout", "1"]);
    outcome.exits(exit::TIMED_OUT);
    assert_ne!(outcome.verdict(HOSTNAME).0, "PASS");
}

/// The guest resets itself while the announcement of its second scenario waits for the console.
#[test]
fn a_reset_while_the_console_is_late_is_noticed_at_once() {
    let mut actions = passed_hostname();
    actions.extend([Action::HoldConsole, Action::AwaitRun("uts.sysctl".to_owned()), started(2, "uts.sysctl")]);
    actions.extend([shutdown("guest-reset"), Action::Qmp(STOP.to_owned()), Action::ReleaseConsole, Action::Hang]);
    let outcome = lab(vec![booted(actions)]).run(&[ONLY_HOSTNAME, "=uts.sysctl"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "PASS", "").has("uts.sysctl", "VANISHED", "the guest's machine was reset");
    assert_eq!(outcome.loss().deadline, None, "no limit had to pass");
}

const STOP: &str = r#"{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}"#;
