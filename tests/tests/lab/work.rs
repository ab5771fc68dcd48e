//! Several kernels and several guests: where and when each scenario runs.

use vmlab_events::event::{JobReport, LabEvent};
use vmlab_events::exit;
use vmlab_tests::UTS;
use vmlab_tests::fake::script::{Action, Guest, console, hello};
use vmlab_tests::outcome::{Outcome, record_dir};

use crate::{HOSTNAME, ONLY_HOSTNAME, lab};

/// The largest number of guests at the same time.
fn at_once(outcome: &Outcome) -> usize {
    let (mut now, mut most) = (0, 0);
    for stamped in &outcome.events {
        match stamped.event {
            LabEvent::GuestStarting { .. } => now += 1,
            LabEvent::GuestEnded { .. } => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

fn label(outcome: &Outcome, kernel: &str, scenario: &str) -> &'static str {
    outcome.labels()[&(kernel.to_owned(), scenario.to_owned())]
}

#[test]
fn every_scenario_runs_on_every_kernel_and_a_crash_affects_one_kernel_only() {
    let panic = vec![console("[    1.0] Kernel panic - not syncing: no\n"), Action::Exit(0)];
    let guests = vec![Guest::good().on("old"), Guest::new(panic).on("broken"), Guest::good().on("new")];
    let outcome = lab(guests).kernels(&["old", "broken", "new"]).run(&UTS);
    outcome.exits(exit::CRASHED);
    for scenario in ["uts.domainname", HOSTNAME, "uts.sysctl"] {
        assert_eq!(["old", "broken", "new"].map(|kernel| label(&outcome, kernel, scenario)), ["PASS", "CRASH", "PASS"]);
    }
    assert_eq!(outcome.guests(), 3);
}

#[test]
fn two_jobs_are_two_guests_at_once() {
    // Each guest waits for the other guest, so neither passes alone.
    let meet = |own: &str, other: &str| {
        let actions = vec![Action::Mark(own.to_owned()), Action::AwaitMark(other.to_owned())];
        Guest::new([actions, vec![hello(), Action::ServeRest]].concat())
    };
    let guests = vec![meet("a-is-up", "b-is-up").on("a"), meet("b-is-up", "a-is-up").on("b")];
    let outcome = lab(guests).kernels(&["vmlinuz-a", "vmlinuz-b"]).run(&[ONLY_HOSTNAME, "--jobs", "2"]);
    outcome.exits(exit::OK);
    assert_eq!(at_once(&outcome), 2);
}

#[test]
fn one_job_is_one_guest_at_a_time() {
    let guests = ["a", "b", "c"].map(|kernel| Guest::good().on(kernel)).to_vec();
    let outcome = lab(guests).kernels(&["vm-a", "vm-b", "vm-c"]).run(&[UTS[0], UTS[1], UTS[2], "--jobs", "1"]);
    outcome.exits(exit::OK);
    assert_eq!((outcome.guests(), at_once(&outcome)), (3, 1));
}

#[test]
fn a_kernel_named_twice_runs_once() {
    let lab = lab(vec![Guest::good()]).kernels(&["same", "same"]);
    let outcome = lab.run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::OK);
    assert_eq!(outcome.reports().count(), 1);
}

#[test]
fn isolation_boot_boots_a_guest_for_each_scenario() {
    let outcome = lab(vec![Guest::good(); 3]).run(&[UTS[0], UTS[1], UTS[2], "--isolation", "boot"]);
    outcome.exits(exit::OK);
    let mut guests: Vec<_> = outcome.reports().map(|report| report.guest).collect();
    guests.sort();
    assert_eq!(guests, [Some(1), Some(2), Some(3)]);
}

#[test]
fn a_kernel_that_does_not_boot_is_not_tried_for_each_scenario() {
    let lab = lab(vec![Guest::new(vec![Action::Exit(0)]); 3]);
    let outcome = lab.run(&[UTS[0], UTS[1], UTS[2], "--isolation", "boot", "--jobs", "1"]);
    outcome.exits(exit::LAB);
    assert_eq!((outcome.reports().count(), outcome.guests()), (3, 1));
}

#[test]
fn the_whole_catalogue_runs_in_one_guest_of_each_machine() {
    let all = vmlab_image::guest_init::catalogue().unwrap();
    let in_pairs = all.iter().filter(|spec| spec.machine.peer).count();
    assert!(in_pairs > 0);
    let outcome = lab(vec![Guest::good(); 2 + 2 * in_pairs]).run(&["--jobs", "1"]);
    outcome.exits(exit::OK);
    assert_eq!(outcome.reports().count(), all.len());
    assert_eq!(outcome.guests(), 2 + 2 * in_pairs);
    let need = |name: &str| all.iter().find(|spec| spec.id.as_str() == name).unwrap().machine;
    let fits = |report: &JobReport| match need(report.job.name()) {
        // Two guests of its own, the second of which has a report of its own.
        need if need.peer => {
            report.guest > Some(2) && report.peer.as_ref().is_some_and(|peer| peer.guest == report.guest.map(|n| n + 1))
        }
        need => report.guest == Some(if need.cpus > 1 { 2 } else { 1 }) && report.peer.is_none(),
    };
    assert!(outcome.reports().all(fits));
    assert!(outcome.labels().values().all(|word| matches!(*word, "PASS" | "LEAK")));
}

#[test]
fn a_dry_run_starts_no_guest_and_leaves_no_record() {
    let lab = lab(vec![Guest::good()]);
    let ended =
        lab.env.run(&lab.arguments(&[UTS[0], UTS[1], UTS[2], "--dry-run", "--memory", "300", "--append", "nokaslr"]));
    ended.exits(exit::OK);
    for words in [
        "uts.hostname",
        "3 scenarios, shared",
        "300 MiB, 1 CPU",
        "7.2.22 at ",
        "tcg, as asked",
        "/kernels/vmlinuz: ",
        "no_timer_check (work-around for a fault of TCG), then nokaslr (--append)",
        "its modules were not found",
    ] {
        assert!(ended.stdout.contains(words), "{words}: {ended}");
    }
    assert!(ended.stdout.contains("json to ") && !lab.file("events.jsonl").exists(), "{ended}");
    assert_eq!((lab.unclaimed(), record_dir(&lab.env)), (vec![0], None));

    // What would be fetched is only named, and what would fail fails.
    let arguments = lab.arguments(&["--dry-run", "--kernel", "debian:bookworm"]);
    let ended = lab.env.run(&arguments);
    ended.exits(exit::OK);
    assert!(ended.stdout.contains("debian:bookworm: not in the cache, would be fetched"), "{ended}");
    lab.env.run(&lab.arguments(&["--dry-run", "--offline", "--kernel", "debian:bookworm"])).exits(exit::LAB);
    lab.env.run(&lab.arguments(&["--dry-run", "--kernel", "./no/such/kernel"])).exits(exit::USAGE);
}

/// The number of processors of each guest, by its number.
fn processors(outcome: &Outcome) -> Vec<String> {
    let mut guests: Vec<_> = outcome
        .events
        .iter()
        .filter_map(|stamped| match &stamped.event {
            LabEvent::GuestStarting { guest, argv, .. } => Some((*guest, argv.clone())),
            _ => None,
        })
        .collect();
    guests.sort_unstable();
    let smp = |argv: &[String]| argv.windows(2).find(|pair| pair[0] == "-smp").map(|pair| pair[1].clone());
    guests.iter().filter_map(|(_, argv)| smp(argv)).collect()
}

const TWO_CPUS: &str = "lab.two-cpus";

#[test]
fn a_scenario_that_needs_two_cpus_has_a_guest_with_two() {
    let filters = [ONLY_HOSTNAME, "=lab.two-cpus"];
    let outcome = lab(vec![Guest::good(); 2]).run(&[&filters[..], &["--jobs", "1"]].concat());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "").has(TWO_CPUS, "PASS", "");
    assert_eq!(processors(&outcome), ["1", "2"], "a guest for each machine: {}", outcome.ended);
    // The target is the same column.
    let LabEvent::RunStarted { targets, .. } = &outcome.events[0].event else { panic!("{}", outcome.ended) };
    assert_eq!(targets.len(), 1);
    let ready = |stamped: &&vmlab_events::event::Stamped| matches!(stamped.event, LabEvent::KernelReady { .. });
    assert_eq!(outcome.events.iter().filter(ready).count(), 1);
}

#[test]
fn a_machine_that_no_scenario_needs_is_not_booted() {
    let outcome = lab(vec![Guest::good()]).run(&["=lab.two-cpus"]);
    outcome.exits(exit::OK);
    assert_eq!(processors(&outcome), ["2"]);
    // Where all guests have enough, one is enough for all.
    let outcome = lab(vec![Guest::good()]).run(&[ONLY_HOSTNAME, "=lab.two-cpus", "--cpus", "4"]);
    outcome.exits(exit::OK);
    assert_eq!(processors(&outcome), ["4"]);
}

#[test]
fn each_machine_has_a_template_of_its_own() {
    let guests = vec![Guest::template(), Guest::good_fork(), Guest::template(), Guest::good_fork()];
    let more = [ONLY_HOSTNAME, "=lab.two-cpus", "--isolation", "fork", "--jobs", "1"];
    let outcome = lab(guests).run(&more);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "").has(TWO_CPUS, "PASS", "");
    let mut processors = processors(&outcome);
    processors.sort_unstable();
    assert_eq!(processors, ["1", "1", "2", "2"]);
}

#[test]
fn a_machine_that_does_not_boot_affects_its_own_scenarios_only() {
    let outcome = lab(vec![Guest::good(), Guest::new(vec![Action::Exit(0)])]).run(&[
        ONLY_HOSTNAME,
        "=lab.two-cpus",
        "--jobs",
        "1",
    ]);
    outcome.exits(exit::LAB).has(HOSTNAME, "PASS", "").has(TWO_CPUS, "NO-BOOT", "");
}

#[test]
fn a_kernel_for_one_cpu_gets_one_cpu() {
    let outcome = lab(vec![Guest::good()]).without(&["CONFIG_SMP"]).run(&["=lab.two-cpus"]);
    assert_eq!(processors(&outcome), ["1"]);
}
