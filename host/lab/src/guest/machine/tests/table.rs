//! Tables of inputs and the expected outcomes.

use std::time::Duration;

use vmlab_events::event::{GuestOutcome, LabEvent, NotNeeded};
use vmlab_events::loss::QemuEnd;
use vmlab_events::verdict::HostFault;
use vmlab_protocol::message::{GuestMessage, HERE, HostMessage, Leg, LegOutcome};
use vmlab_qemu::qmp::{QmpEvent, ShutdownReason};

use super::super::{NotSaved, Outcome, Start};
use super::guest::{Play, hello, jobs};
use crate::attempts::AttemptEnd::{Complete, Cut};
use crate::guest::input::Input;
use crate::stop::Stop;

const OOPS: &str =
    "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP";
const WARNING: &str = "WARNING: CPU: 0 PID: 1 at kernel/fork.c:2 f+0x1/0x2";
const PANIC: &str = "Kernel panic - not syncing: sysrq triggered crash";

/// A booted guest that runs the first of `count` jobs.
fn running(count: usize) -> Play {
    let mut play = Play::new(Start::Boot, jobs(count));
    play.give(Input::Start).boots().prepares().obeys();
    play
}

fn rest(play: Play) -> Vec<String> {
    match play.outcome() {
        Outcome::Served(rest) | Outcome::NeverReady(_, rest) | Outcome::ForkFailed(_, rest) => {
            rest.iter().map(|job| job.spec.name().to_owned()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_boot_runs_its_jobs_in_order_and_says_goodbye() {
    let mut play = running(2);
    play.passes(1);
    assert_eq!(play.labels(), [], "the report is open until the next marker");
    play.obeys().passes(2).obeys().killed();
    assert_eq!(play.labels(), [("PASS", Complete), ("PASS", Complete)]);
    assert_eq!(play.done, ["end"]);
    let ended =
        play.events.iter().any(|event| matches!(event, LabEvent::GuestEnded { how, .. } if *how == GuestOutcome::Done));
    assert!(ended, "{:?}", play.events);
    assert_eq!(rest(play), [""; 0]);
}

#[test]
fn a_fork_is_woken_and_gets_its_orders_when_it_runs() {
    let mut play = Play::new(Start::Fork, jobs(1));
    play.give(Input::Start);
    assert_eq!((play.done.as_slice(), play.orders.len()), (&["wake"][..], 0));
    play.qmp(QmpEvent::Resumed);
    assert!(matches!(play.orders[..], [HostMessage::Prepare { .. }, HostMessage::Run { .. }]), "{:?}", play.orders);
    play.prepares().obeys().passes(1).obeys().killed();
    assert_eq!(play.labels(), [("PASS", Complete)]);
}

/// Events during the first of two jobs, the labels of the reports, and the number of jobs that need another guest.
type Case = (&'static str, fn(&mut Play), &'static [(&'static str, crate::attempts::AttemptEnd)], usize);

const CASES: &[Case] = &[
    ("QEMU exits", |play| closes_all(play), &[("VANISHED", Complete)], 1),
    ("a crash beats the lost connection", |play| closes_all(play.prints(OOPS)), &[("CRASH", Complete)], 1),
    ("the limit passes", |play| ends(play.run_out()), &[("TIMEOUT", Complete)], 1),
    ("the run is interrupted", |play| ends(play.give(Input::Stopped(Stop::Interrupted))), &[("NOT-RUN", Cut)], 1),
    (
        "the run's limit passes",
        |play| ends(play.give(Input::Stopped(Stop::RunLimit(Duration::from_secs(1))))),
        &[("TIMEOUT", Cut)],
        1,
    ),
    (
        "a message out of turn",
        |play| ends(play.says(GuestMessage::JobFinished { run: 1 })),
        &[("GARBLED", Complete)],
        1,
    ),
    ("garbage", |play| ends(play.give(Input::Control(vec![b'x'; 100]))), &[("GARBLED", Complete)], 1),
    ("a panic that QEMU reports", |play| ends(pauses(play.qmp(QmpEvent::GuestPanicked))), &[("CRASH", Complete)], 1),
    (
        "a reset that QEMU reports",
        |play| ends(pauses(play.qmp(QmpEvent::Shutdown(ShutdownReason::GuestReset)))),
        &[("VANISHED", Complete)],
        1,
    ),
    ("a leg that failed spoils the guest", |play| ends(fails(play).obeys()), &[("FAIL", Complete)], 1),
    (
        "a warning while it runs",
        |play| ends(play.prints(WARNING).passes(1).obeys().passes(2).obeys()),
        &[("FAIL", Complete), ("PASS", Complete)],
        0,
    ),
    (
        "a warning that comes after the job's end and before the marker",
        |play| {
            play.passes(1).prints(WARNING);
            ends(play.obeys().passes(2).obeys());
        },
        &[("FAIL", Complete), ("PASS", Complete)],
        0,
    ),
    (
        "a warning after the marker belongs to the next job",
        |play| {
            play.passes(1).obeys().prints(WARNING);
            ends(play.passes(2).obeys());
        },
        &[("PASS", Complete), ("FAIL", Complete)],
        0,
    ),
    (
        "a crash after the last job, before the goodbye's marker",
        |play| {
            play.passes(1).obeys().passes(2).prints(OOPS);
            ends(play.obeys());
        },
        &[("PASS", Complete), ("CRASH", Complete)],
        0,
    ),
    (
        "the console is closed before the goodbye's marker",
        |play| {
            play.passes(1).obeys().passes(2).give(Input::ConsoleClosed);
            let HostMessage::Finish { .. } = play.orders.remove(0) else { panic!("{:?}", play.orders) };
            ends(play.says(GuestMessage::RunFinished { started: 2 }));
        },
        &[("PASS", Complete), ("GARBLED", Complete)],
        0,
    ),
    (
        "the guest ends after its job and before the next",
        |play| closes_all(play.passes(1)),
        &[("VANISHED", Complete)],
        1,
    ),
    (
        "the run is interrupted between two jobs whose marker is due",
        |play| ends(play.passes(1).give(Input::Stopped(Stop::Interrupted))),
        &[("NOT-RUN", Cut)],
        1,
    ),
    (
        "QEMU reports a panic, and the guest goes on to say goodbye",
        |play| {
            play.passes(1).obeys().passes(2).qmp(QmpEvent::GuestPanicked);
            ends(play.obeys());
        },
        &[("PASS", Complete), ("CRASH", Complete)],
        0,
    ),
    (
        "the host cannot write",
        |play| ends(play.give(Input::HostFailed(HostFault::Write { error: "no".to_owned() }))),
        &[("VANISHED", Complete)],
        1,
    ),
];

fn ends(play: &mut Play) {
    assert_eq!(play.done.last(), Some(&"end"), "{:?}", play.done);
    play.killed();
}

fn pauses(play: &mut Play) -> &mut Play {
    play.qmp(QmpEvent::Shutdown(ShutdownReason::GuestPanic)).qmp(QmpEvent::Stopped)
}

fn closes_all(play: &mut Play) {
    use std::os::unix::process::ExitStatusExt as _;
    let status = std::process::ExitStatus::from_raw(0);
    play.give(Input::ControlClosed).give(Input::ConsoleClosed).give(Input::Exited(status)).give(Input::QmpClosed);
    assert_eq!(play.done.last(), Some(&"end"), "{:?}", play.done);
    play.ends(QemuEnd::Exited(0));
}

fn fails(play: &mut Play) -> &mut Play {
    play.leg(1, Leg::Probe, LegOutcome::Failed { detail: "no".to_owned() }).says(GuestMessage::JobFinished { run: 1 })
}

#[test]
fn each_loss_has_its_verdict_and_the_other_jobs_get_another_guest() {
    for (name, steps, labels, left) in CASES {
        let mut play = running(2);
        steps(&mut play);
        assert_eq!(play.labels(), *labels, "{name}");
        assert_eq!(rest(play).len(), *left, "{name}");
    }
}

#[test]
fn a_message_is_held_back_until_the_console_has_reached_its_marker() {
    let mut play = running(1);
    play.passes(1);
    let HostMessage::Finish { marker } = play.orders.remove(0) else { panic!("{:?}", play.orders) };
    play.says(GuestMessage::RunFinished { started: 1 });
    assert!(!play.machine.reads_control() && play.done.is_empty(), "{:?}", play.done);
    play.prints(OOPS).prints(&marker);
    assert!(play.machine.reads_control());
    ends(&mut play);
    assert_eq!(play.labels(), [("CRASH", Complete)]);
}

#[test]
fn a_held_back_message_without_its_marker_is_no_pass() {
    let mut play = running(1);
    play.passes(1);
    play.orders.clear();
    play.says(GuestMessage::RunFinished { started: 1 }).run_out();
    play.killed();
    assert_eq!(play.labels(), [("GARBLED", Complete)]);
}

/// The verdict on a guest that said hello and was given up before its marker, and the time from its hello to its end.
fn held_at_hello(steps: impl Fn(&mut Play)) -> (String, Duration) {
    let mut play = Play::new(Start::Boot, jobs(1));
    steps(play.give(Input::Start).wait(Duration::from_secs(1)));
    play.says(GuestMessage::Hello(Box::new(hello())));
    let said = play.now;
    assert!(!play.machine.reads_control() && play.done.is_empty(), "{:?}", play.done);
    play.run_out();
    let waited = play.now - said;
    ends(&mut play);
    let Outcome::NeverReady(verdict, _) = play.outcome() else { panic!("it is given up") };
    (format!("{}: {}", verdict.label(), verdict.detail()), waited)
}

#[test]
fn a_silent_console_is_told_soon_after_the_hello_with_the_likely_options() {
    for steps in [(|_| {}) as fn(&mut Play), |play| _ = play.give(Input::Console(b"SeaBIOS\r\n".to_vec()))] {
        let (verdict, waited) = held_at_hello(steps);
        assert!(
            verdict.starts_with("NO-BOOT: the guest's agent answered, but its kernel printed nothing"),
            "{verdict}"
        );
        for option in ["CONFIG_SERIAL_8250_CONSOLE", "CONFIG_CMDLINE_OVERRIDE", "CONFIG_PRINTK"] {
            assert!(verdict.contains(option), "{verdict}");
        }
        assert!(waited < Duration::from_secs(11), "{waited:?}");
    }
    // A console that the kernel had printed on was cut.
    let (verdict, waited) = held_at_hello(|play| _ = play.prints("Linux version 6.1.0"));
    assert!(verdict.starts_with("GARBLED: the console was cut") && waited < Duration::from_secs(11), "{verdict}");
}

#[test]
fn a_console_that_is_late_and_active_is_waited_for_within_the_handshakes_limit() {
    let mut play = Play::new(Start::Boot, jobs(1));
    play.give(Input::Start).prints("Linux version 6.1.0").says(GuestMessage::Hello(Box::new(hello())));
    for _ in 0..10 {
        play.wait(Duration::from_secs(7)).prints("still printing").give(Input::Deadline(None));
    }
    assert_eq!(play.done, [""; 0], "it is active");
    play.prints(HERE);
    assert!(matches!(play.orders[..], [HostMessage::Prepare { .. }, _]), "{:?}", play.orders);

    let mut endless = Play::new(Start::Boot, jobs(1));
    endless.give(Input::Start).prints("Linux version 6.1.0").says(GuestMessage::Hello(Box::new(hello())));
    for _ in 0..1000 {
        if endless.done.is_empty() {
            endless.wait(Duration::from_secs(4)).prints("still printing").give(Input::Deadline(None));
        }
    }
    assert_eq!(endless.done, ["end"]);
    assert!(endless.now < Duration::from_secs(140), "{:?}", endless.now);
}

#[test]
fn a_kernel_that_prints_on_another_console_is_told_at_its_hello() {
    for (consoles, text) in [
        (&["tty0"][..], "does not print on ttyS0, which vmlab reads, but on tty0; it needs"),
        (&[], "does not print on ttyS0, which vmlab reads, but on no console; it needs"),
    ] {
        let consoles: Vec<_> = consoles.iter().map(|&name| name.to_owned()).collect();
        let said = vmlab_protocol::message::Hello { consoles, console_level: 4, ..hello() };
        let mut play = Play::new(Start::Boot, jobs(1));
        play.give(Input::Start).says(GuestMessage::Hello(Box::new(said)));
        ends(&mut play);
        let Outcome::NeverReady(verdict, _) = play.outcome() else { panic!("it is given up") };
        assert!(verdict.label() == "NO-BOOT" && verdict.detail().contains(text), "{verdict:?}");
    }
}

#[test]
fn a_guest_that_never_says_hello_has_no_reports() {
    for (steps, label) in [
        ((|play| ends(play.run_out())) as fn(&mut Play), "NO-BOOT"),
        (|play| ends(play.prints("Linux version 6.1.0").run_out()), "NO-BOOT"),
        (|play| ends(play.prints(PANIC).run_out()), "CRASH"),
        (|play| ends(play.prints(OOPS).prints(HERE).says(GuestMessage::Hello(Box::new(hello())))), "CRASH"),
        (
            |play| {
                let other = vmlab_protocol::message::Hello { cpus: 2, ..hello() };
                ends(play.prints(HERE).says(GuestMessage::Hello(Box::new(other))));
            },
            "NO-BOOT",
        ),
    ] {
        let mut play = Play::new(Start::Boot, jobs(2));
        steps(play.give(Input::Start));
        assert_eq!(play.labels(), []);
        let Outcome::NeverReady(verdict, rest) = play.outcome() else { panic!("{label}") };
        assert_eq!((verdict.label(), rest.len()), (label, 2));
    }
}

#[test]
fn a_fork_that_fails_before_its_first_job_reports_no_job() {
    let mut play = Play::new(Start::Fork, jobs(2));
    play.give(Input::Start);
    let error = Some("no such device".to_owned());
    play.qmp(QmpEvent::Reply { command: "migrate-incoming".to_owned(), error }).killed();
    let Outcome::ForkFailed(dead, rest) = play.outcome() else { panic!("it is a dead fork") };
    assert!(dead.refused && !dead.by_others && dead.why.contains("no such device"), "{dead:?}");
    assert_eq!(rest.len(), 2);
}

#[test]
fn a_template_is_saved_at_its_hello_with_its_warnings() {
    let mut play = Play::new(Start::Template, Vec::new());
    play.give(Input::Start).prints(WARNING).boots();
    assert_eq!(play.done, ["save"]);
    play.prints(WARNING).qmp(QmpEvent::Migration { status: "completed".to_owned() }).killed();
    assert_eq!(play.done, ["save", "end"]);
    let Outcome::Saved(boot) = play.outcome() else { panic!("it is saved") };
    assert_eq!(boot.boot_notes.len(), 2, "{boot:?}");
}

#[test]
fn a_guest_that_breaks_or_is_refused_is_no_template() {
    for (steps, refused) in [
        (
            (|play| {
                play.qmp(QmpEvent::Migration { status: "completed".to_owned() }).prints(OOPS);
            }) as fn(&mut Play),
            false,
        ),
        (|play| _ = play.qmp(QmpEvent::Migration { status: "failed".to_owned() }), false),
        (|play| _ = play.qmp(QmpEvent::GuestPanicked), false),
        (|play| _ = play.run_out(), false),
        (|play| _ = play.give(Input::Stopped(Stop::Interrupted)), false),
        (|play| _ = play.give(Input::SaveFailed { refused: true, why: "no".to_owned() }), true),
        (|play| _ = play.give(Input::SaveFailed { refused: false, why: "no".to_owned() }), false),
    ] {
        let mut play = Play::new(Start::Template, Vec::new());
        play.give(Input::Start).boots();
        steps(&mut play);
        play.killed();
        match play.outcome() {
            Outcome::NotSaved(NotSaved::Refused(_)) => assert!(refused),
            Outcome::NotSaved(NotSaved::Failed(why)) => assert!(!refused && !why.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_standby_that_is_not_needed_ends_without_a_verdict() {
    let mut play = Play::new(Start::Fork, Vec::new());
    play.give(Input::Unneeded(NotNeeded::NoMoreWork)).killed();
    let how = GuestOutcome::NotNeeded { reason: NotNeeded::NoMoreWork };
    assert!(play.events.iter().any(|event| matches!(event, LabEvent::GuestEnded { how: said, .. } if *said == how)));
    assert!(matches!(play.outcome(), Outcome::Unneeded));
}

#[test]
fn a_silent_guest_ends_before_its_jobs_limit() {
    let mut play = running(1);
    play.run_out();
    let waited = play.now;
    play.killed();
    let (report, _) = &play.reports[0];
    assert!(report.verdict.detail().contains("silence"), "{}", report.verdict.detail());
    let mut talks = running(1);
    for _ in 0..100 {
        talks.wait(waited / 3).give(Input::Control(Play::output(1, b"x")));
        if talks.machine.deadline().saturating_duration_since(std::time::Instant::now()) < waited {
            break;
        }
    }
    talks.run_out().killed();
    assert!(talks.now > waited, "output is activity");
}
