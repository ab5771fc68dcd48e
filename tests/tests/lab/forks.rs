//! Forks of a template, and standbys.

use nix::sys::signal::Signal;
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_tests::UTS;
use vmlab_tests::fake::script::{Action, Guest, console, event, hello, started};
use vmlab_tests::outcome::Outcome;

use crate::{HOSTNAME, lab};

const FORK: [&str; 4] = ["--isolation", "fork", "--jobs", "1"];

/// How each guest ended, in the order of their numbers.
fn ends(outcome: &Outcome) -> Vec<String> {
    let ends = outcome.events.iter().filter_map(|stamped| match &stamped.event {
        LabEvent::GuestEnded { guest, how, .. } => Some((*guest, how.to_string())),
        _ => None,
    });
    let mut ends: Vec<_> = ends.collect();
    ends.sort_unstable();
    ends.into_iter().map(|(_, how)| how).collect()
}

/// The guests whose timings were reported.
fn timed(outcome: &Outcome) -> Vec<u32> {
    let timed = outcome.events.iter().filter_map(|stamped| match &stamped.event {
        LabEvent::GuestTimings { guest, .. } => Some(*guest),
        _ => None,
    });
    let mut timed: Vec<_> = timed.collect();
    timed.sort_unstable();
    timed
}

#[test]
fn each_scenario_has_a_fork_of_one_template() {
    let guests = vec![Guest::template(), Guest::good_fork(), Guest::good_fork(), Guest::good_fork()];
    let outcome = lab(guests).run(&[&UTS, &FORK[..]].concat());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    let mut guests: Vec<_> = outcome.reports().filter_map(|report| report.guest).collect();
    guests.sort_unstable();
    assert_eq!(guests, [2, 3, 4]);
    assert_eq!((ends(&outcome), timed(&outcome)), (vec!["done".to_owned(); 4], vec![1, 2, 3, 4]));
}

#[test]
fn a_standby_that_is_not_needed_has_its_end_in_the_record() {
    // Both guests start together, so each can be the standby.
    let marks = ["one", "other"];
    let stuck = marks.map(|mark| {
        let woken = [Action::AwaitCommand("cont".to_owned()), Action::Mark(mark.to_owned())];
        let work = [Action::AwaitRun("uts.domainname".to_owned()), started(1, "uts.domainname"), Action::Hang];
        Guest::new([&woken[..], &work].concat())
    });
    let lab = lab([vec![Guest::template()], stuck.to_vec()].concat());
    let mut running = lab.start(&[&UTS, &FORK[..]].concat());
    lab.await_event(&mut running, "a scenario", |event| matches!(event, LabEvent::JobStarted { .. }));
    running.signal(Signal::SIGINT);
    let outcome = lab.outcome(running.wait());
    outcome.exits(exit::INTERRUPTED);
    let ends = ends(&outcome);
    assert_eq!(ends[..2], ["done", "the run was interrupted"]);
    assert!(ends.len() == 3 && ends[2].starts_with("not needed: it was started ahead"), "{ends:?}");
    assert_eq!(timed(&outcome), [1, 2, 3]);
    // The standby was paused all the time.
    assert_eq!(marks.iter().filter(|mark| lab.dir().join(mark).exists()).count(), 1);
}

#[test]
fn a_template_with_a_dead_fork_is_removed_together_with_its_standbys() {
    // A fork that is killed before it runs leaves its part of the script to the next QEMU, which boots.
    let mortal = Guest::new([vec![Action::ExitAsFork(1)], Guest::good().actions].concat());
    let guests = [vec![Guest::template()], vec![mortal; 5]].concat();
    let lab = lab(guests);
    let outcome = lab.run(&[&UTS, &FORK[..]].concat());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert!(outcome.notices().any(|text| text.contains("a fork failed before its first job")), "{}", outcome.ended);
    let ends = ends(&outcome);
    assert!(ends[2].starts_with("not needed: it is a fork of a template that was given up"), "{ends:?}");
    assert_eq!(timed(&outcome), [1, 2, 3, 4, 5, 6]);
    let left: Vec<_> = lab.env.cached_files().into_iter().filter(|name| name.starts_with("vmlab/templates")).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn each_retry_and_each_repetition_has_a_fork_of_its_own() {
    let only = [&["=uts.hostname"], &FORK[..]].concat();
    let dies = Guest::new(vec![Action::AwaitRun(HOSTNAME.to_owned()), started(1, HOSTNAME), Action::Exit(0)]);
    let outcome =
        lab(vec![Guest::template(), dies, Guest::good_fork()]).run(&[&only[..], &["--retries", "1"]].concat());
    outcome.exits(exit::FAILED).has(HOSTNAME, "FLAKY", "first with VANISHED");
    let guests = [vec![Guest::template()], vec![Guest::good_fork(); 6]].concat();
    let outcome = lab(guests).run(&[&only[..], &["--repeat", "6"]].concat());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!(ends(&outcome), ["done"; 7]);
}

#[test]
fn a_killed_fork_is_replaced_and_its_template_stays() {
    let only = [&["=uts.hostname"], &FORK[..]].concat();
    let killed = Guest::new(vec![Action::Signal(Signal::SIGKILL as i32)]);
    let passed_over =
        |outcome: &Outcome| outcome.notices().filter(|text| text.contains("vmlab starts another fork")).count();
    let lab = lab(vec![Guest::template(), killed.clone(), Guest::good_fork()]);
    let outcome = lab.run(&only);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!((outcome.guests(), passed_over(&outcome)), (3, 1));
    assert!(lab.env.cached_files().iter().any(|name| name.starts_with("vmlab/templates")), "the template was removed");
    // If all forks are killed, vmlab gives up.
    let guests = [vec![Guest::template()], vec![killed; 4], vec![Guest::good()]].concat();
    let outcome = crate::lab(guests).run(&only);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!((outcome.guests(), passed_over(&outcome)), (6, 3));
    assert!(outcome.notices().any(|text| text.contains("a fork failed before its first job")), "{}", outcome.ended);
}

#[test]
fn killed_forks_are_counted_from_the_last_guest_that_served() {
    let killed = || vec![Guest::new(vec![Action::Signal(Signal::SIGKILL as i32)]); 2];
    let guests =
        [vec![Guest::template()], killed(), vec![Guest::good_fork()], killed(), vec![Guest::good_fork()]].concat();
    let outcome = lab(guests).run(&[&["=uts.hostname"], &FORK[..], &["--repeat", "2"]].concat());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    let passed_over = outcome.notices().filter(|text| text.contains("vmlab starts another fork")).count();
    assert_eq!((outcome.guests(), passed_over), (7, 4), "{}", outcome.ended);
}

/// A template whose kernel has printed this, without a line end, before the guest is saved.
fn template_that_says(line: &str) -> Guest {
    Guest::new(vec![Action::HoldConsole, hello(), console(line), Action::ReleaseConsole, Action::Hang])
}

/// A fork's console does not show the warnings of the template's kernel, so the template keeps them.
#[test]
fn warnings_of_a_templates_kernel_are_reported_in_each_run_with_the_template() {
    let template = template_that_says("[    3.1] WARNING: CPU: 0 PID: 1 at init/main.c:42 kernel_init+0x1/0x2");
    let lab = lab(vec![template, Guest::good_fork(), Guest::good_fork()]);
    for guests in [2, 1] {
        let outcome = lab.run(&[&["=uts.hostname"], &FORK[..]].concat());
        outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
        let warning =
            |text: &&str| text.contains("the kernel warned while it booted: WARNING: CPU: 0 PID: 1 at init/main.c");
        assert_eq!((outcome.guests(), outcome.notices().filter(warning).count()), (guests, 1), "{}", outcome.ended);
    }
}

#[test]
fn a_guest_whose_kernel_breaks_after_the_hello_is_not_saved() {
    let template = template_that_says("[    3.1] BUG: KASAN: slab-use-after-free in f+0x1/0x2");
    let lab = lab(vec![template, Guest::good()]);
    let outcome = lab.run(&[&["=uts.hostname"], &FORK[..]].concat());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert!(
        outcome.notices().any(|text| text.contains("its kernel broke after its hello: BUG: KASAN")),
        "{}",
        outcome.ended
    );
    assert!(!lab.env.cached_files().iter().any(|name| name.contains("template.json")));
}

#[test]
fn a_killed_template_guest_is_no_evidence_against_the_kernel() {
    let killed = Guest::new(vec![Action::Signal(Signal::SIGKILL as i32)]);
    let outcome = lab(vec![killed, Guest::good()]).run(&[&["=uts.hostname"], &FORK[..]].concat());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert!(
        outcome.notices().any(|text| text.contains("guests are booted, not forked") && text.contains("SIGKILL")),
        "{}",
        outcome.ended
    );
}

#[test]
fn a_fork_whose_qemu_is_terminated_is_replaced() {
    let data = serde_json::json!({"guest": false, "reason": "host-signal"});
    let ended = Guest::new(vec![event("SHUTDOWN", &data), Action::Exit(0)]);
    let outcome =
        lab(vec![Guest::template(), ended, Guest::good_fork()]).run(&[&["=uts.hostname"], &FORK[..]].concat());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert!(outcome.notices().any(|text| text.contains("vmlab starts another fork")), "{}", outcome.ended);
}

#[test]
fn a_template_that_disappears_during_a_run_changes_no_verdict() {
    let go = Action::AwaitMark("gone".to_owned());
    let first =
        Guest::new(vec![Action::AwaitCommand("cont".to_owned()), Action::Mark("up".to_owned()), go, Action::ServeRest]);
    let lab = lab(vec![Guest::template(), first, Guest::good()]);
    let mut running = lab.start(&[&["=uts.hostname", "--repeat", "2"], &FORK[..]].concat());
    running.until("a fork", || lab.dir().join("up").exists().then_some(()));
    std::fs::remove_dir_all(lab.env.cache().join("vmlab/templates")).unwrap();
    std::fs::write(lab.dir().join("gone"), "").unwrap();
    let outcome = lab.outcome(running.wait());
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert!(outcome.notices().any(|text| text.contains("guests are booted, not forked")), "{}", outcome.ended);
}
