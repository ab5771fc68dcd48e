use super::*;
use crate::verdict::evidence::{Console, Link, Monitor, refused};
use vmlab_console::Crash;
use vmlab_events::loss::Deadline;
use vmlab_events::verdict::{Class, HostFault, Mismatch};
use vmlab_protocol::frame::Truncated;

mod boot;

const LINE: &str = "[    1.0] the last line";
const STDERR: &str = "qemu: out of luck";
const CUT: &str = "the link was cut: the stream ended within a frame: 3 of 16 bytes were received";
const CUT_FRAME: Truncated = Truncated { have: 3, need: 16 };

/// All evidence, owned.
#[derive(Debug, Clone)]
struct Case {
    loss: GuestLoss,
    link: Link,
    crash: Option<Crash>,
    shutdown_line: Option<ShutdownLine>,
    said_by_init: Vec<String>,
    last_line: Option<&'static str>,
    monitor: Monitor,
    qemu: QemuEnd,
    stderr: &'static str,
}

/// A guest whose QEMU has ended without an explanation while a scenario ran.
fn case() -> Case {
    Case {
        loss: GuestLoss::Ended,
        link: Link { booted: true, phase: Phase::Running, cut: None, closed: false },
        crash: None,
        shutdown_line: None,
        said_by_init: Vec::new(),
        last_line: None,
        monitor: Monitor::default(),
        qemu: QemuEnd::Exited(0),
        stderr: "",
    }
}

impl Case {
    fn evidence(&self) -> Evidence<'_> {
        let console = Console {
            crash: self.crash.as_ref(),
            suite: None,
            shutdown_line: self.shutdown_line,
            said_by_init: &self.said_by_init,
            last_line: self.last_line,
        };
        let Self { loss, link, monitor, qemu, stderr, .. } = self;
        Evidence { loss, link, console, monitor, qemu, stderr }
    }

    fn panicked(mut self) -> Self {
        self.monitor.panicked = true;
        self
    }

    fn shutdown(mut self, name: &str) -> Self {
        self.monitor.shutdown = Some(ShutdownReason::from_name(name));
        self.qemu = QemuEnd::Lived { stopped: false };
        self
    }

    fn crashed(mut self) -> Self {
        self.crash = Some(crash());
        self
    }
}

fn crash() -> Crash {
    Crash { trace: vec!["[    1.0] BUG: x".to_owned()], ..Crash::of_title(Kind::Bug, "BUG: x") }
}

fn limit(which: Deadline) -> GuestLoss {
    GuestLoss::Deadline { which, limit_ms: 1000, stretched_ms: 0 }
}

fn losses() -> Vec<GuestLoss> {
    let seen = || "what was seen".to_owned();
    let mut all = vec![
        GuestLoss::Ended,
        GuestLoss::Violation(Violation::NotAMessage { error: seen() }),
        GuestLoss::ConsoleCut,
        GuestLoss::Broken,
        GuestLoss::Host(HostFault::Read { error: seen() }),
        GuestLoss::WrongMachine(Mismatch::Release { guest: seen(), asked: seen() }),
        GuestLoss::Interrupted,
        GuestLoss::RunLimit { limit_ms: 2000 },
        GuestLoss::Deadline { which: Deadline::Scenario, limit_ms: 1000, stretched_ms: 50 },
    ];
    use Deadline::{Boot, Exit, Goodbye, Handshake, Scenario, Silence, Start};
    all.extend([Boot, Handshake, Start, Scenario, Silence, Goodbye, Exit].map(limit));
    all
}

/// Where a session can be, by whether the guest has booted.
fn links() -> Vec<Link> {
    let before = [Phase::Boot, Phase::Prepare, Phase::Over].map(|phase| (false, phase));
    let after = [Phase::Prepare, Phase::Idle, Phase::Asked, Phase::Running, Phase::Leaving, Phase::Over];
    let all = before.into_iter().chain(after.map(|phase| (true, phase)));
    all.map(|(booted, phase)| Link { booted, phase, cut: None, closed: false }).collect()
}

const SHUTDOWNS: [Option<&str>; 8] = [
    None,
    Some("guest-shutdown"),
    Some("guest-reset"),
    Some("guest-panic"),
    Some("host-signal"),
    Some("host-qmp-quit"),
    Some("host-error"),
    Some("snapshot-load"),
];

fn ends() -> Vec<QemuEnd> {
    let lived = |stopped| QemuEnd::Lived { stopped };
    let unknown = QemuEnd::Unknown("it cannot be reaped: EIO".to_owned());
    vec![
        lived(false),
        lived(true),
        QemuEnd::Exited(0),
        QemuEnd::Exited(1),
        QemuEnd::Killed(9),
        QemuEnd::Killed(6),
        unknown,
    ]
}

const SHUTDOWN_LINES: [Option<ShutdownLine>; 4] =
    [None, Some(ShutdownLine::Restarting), Some(ShutdownLine::PowerDown), Some(ShutdownLine::Halted)];

/// Every combination of what decides, each with all the other evidence and with none of them.
fn each_case(mut check: impl FnMut(&Case)) {
    let mut case = case();
    for loss in losses() {
        case.loss = loss;
        for link in links() {
            case.link = link;
            for crashed in [None, Some(crash())] {
                case.crash = crashed;
                for (panicked, shutdown_line) in
                    [false, true].iter().flat_map(|reported| SHUTDOWN_LINES.map(|line| (*reported, line)))
                {
                    case.shutdown_line = shutdown_line;
                    for (shutdown, qemu) in
                        SHUTDOWNS.iter().flat_map(|name| ends().into_iter().map(move |end| (name, end)))
                    {
                        case.qemu = qemu;
                        for full in [false, true] {
                            let refused = full.then(|| refused("getfd", "no"));
                            let (shutdown, closed) = (shutdown.map(ShutdownReason::from_name), full);
                            let state = full.then(|| Ok("running".to_owned()));
                            case.monitor = Monitor { panicked, shutdown, closed, refused, state, ..Monitor::default() };
                            case.link.cut = full.then_some(CUT_FRAME);
                            case.said_by_init = full.then(|| "no port".to_owned()).into_iter().collect();
                            case.last_line = full.then_some(LINE);
                            case.stderr = if full { STDERR } else { "" };
                            check(&case);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_combination_keeps_the_order_of_the_evidence() {
    let mut count = 0;
    each_case(|case| {
        count += 1;
        let verdict = of(&case.evidence());
        let detail = verdict.detail();
        assert!(verdict.class() > Class::Skipped, "{case:?}: {verdict:?}");
        assert!(!detail.is_empty() && !detail.contains('\n'), "{case:?}: {verdict:?}");
        assert!(!detail.contains("; ;") && !detail.starts_with(';') && !detail.ends_with("; "), "{case:?}: {detail}");
        let knows = case.monitor.knows_of_panic();
        let stands_alone =
            matches!(case.loss, GuestLoss::RunLimit { .. } | GuestLoss::Violation(_) | GuestLoss::WrongMachine(_));
        let host = case.monitor.shutdown.as_ref().is_some_and(ShutdownReason::is_by_host);
        let hosts = host || matches!(case.qemu, QemuEnd::Killed(_) | QemuEnd::Lived { stopped: true });
        let unheard = case.loss == GuestLoss::ConsoleCut;
        let ended = matches!(case.qemu, QemuEnd::Exited(_) | QemuEnd::Killed(_));
        let ended = ended || case.monitor.shutdown.is_some() || case.shutdown_line.is_some();
        let early = ended && case.link.phase != Phase::Over;
        let expected: &[&str] = if case.loss == GuestLoss::Interrupted {
            &["NOT-RUN"]
        } else if case.crash.is_some() || knows {
            &["CRASH"]
        } else if matches!(case.loss, GuestLoss::Violation(_)) || (unheard && !hosts && !early) {
            &["GARBLED"]
        } else if matches!(case.loss, GuestLoss::WrongMachine(_)) || !case.link.booted {
            &["NO-BOOT"]
        } else if !stands_alone && hosts {
            &["VANISHED"]
        } else if matches!(case.loss, GuestLoss::RunLimit { .. }) {
            &["TIMEOUT"]
        } else if case.loss.deadline().is_some() {
            &["TIMEOUT", "VANISHED"]
        } else {
            &["VANISHED"]
        };
        assert!(expected.contains(&verdict.label()), "{case:?}: {verdict:?}, not {expected:?}");
        match &verdict {
            Verdict::KernelCrashed { what, .. } if case.crash.is_some() => assert_eq!(what, "BUG: x"),
            Verdict::KernelCrashed { pvpanic, .. } => {
                assert_eq!(*pvpanic, Some(case.link.phase));
                let console = if case.last_line.is_some() { LINE } else { "the console is empty" };
                assert!(detail.contains("(pvpanic)") && detail.contains(console), "{case:?}: {detail}");
            }
            Verdict::TimedOut { reason } => {
                let deadline = reason.deadline();
                assert!(deadline.is_some() && deadline == case.loss.deadline(), "{case:?}: {verdict:?}");
            }
            _ => {}
        }
        if !matches!(verdict, Verdict::KernelCrashed { .. } | Verdict::NotRun { .. }) && !case.stderr.is_empty() {
            assert!([STDERR, CUT, "no port", "QEMU refused getfd: no"].iter().all(|w| detail.contains(w)), "{detail}");
        }
        if stands_alone && !matches!(verdict, Verdict::KernelCrashed { .. }) {
            assert!(detail.contains("what was seen") || detail.contains("2 s (--timeout)"), "{detail}");
        }
    });
    // 16 losses, 9 links, with and without a crash and an event, 4 shutdown lines, 8 reasons, 7 ends, with all else and without.
    assert_eq!(count, 16 * 9 * 2 * 2 * 4 * 8 * 7 * 2);
}

#[test]
fn rows_that_have_a_name() {
    let lived = QemuEnd::Lived { stopped: false };
    let with = |change: &dyn Fn(&mut Case)| {
        let mut case = case();
        change(&mut case);
        case
    };
    let line = |line| with(&|case| case.shutdown_line = Some(line));
    for (name, case, verdict, text) in [
        ("panic on the console", case().crashed().panicked().shutdown("guest-reset"), "CRASH", "BUG: x"),
        (
            "silent console",
            case().panicked().shutdown("guest-reset"),
            "CRASH",
            "while the scenario ran; the console is empty",
        ),
        (
            "rebooted itself",
            line(ShutdownLine::Restarting).shutdown("guest-reset"),
            "VANISHED",
            "the guest rebooted itself while",
        ),
        (
            "powered off",
            case().shutdown("guest-shutdown"),
            "VANISHED",
            "the guest powered itself off while the scenario ran",
        ),
        (
            "halted",
            with(&|c| {
                (c.shutdown_line, c.loss, c.qemu) = (Some(ShutdownLine::Halted), limit(Deadline::Exit), lived.clone());
            }),
            "VANISHED",
            "the guest halted while",
        ),
        (
            "halted, by another limit",
            with(&|c| (c.shutdown_line, c.loss) = (Some(ShutdownLine::Halted), limit(Deadline::Scenario))),
            "VANISHED",
            "the guest halted",
        ),
        ("triple fault", case().shutdown("guest-reset"), "VANISHED", "a triple fault, or a reset through the hardware"),
        ("its reason's name", case().shutdown("guest-reset"), "VANISHED", "QEMU shut down (guest-reset)"),
        ("QEMU killed", with(&|c| c.qemu = QemuEnd::Killed(9)), "VANISHED", "QEMU was killed by signal 9 (SIGKILL)"),
        (
            "QEMU aborted",
            with(&|c| (c.qemu, c.stderr) = (QemuEnd::Killed(6), STDERR)),
            "VANISHED",
            "6 (SIGABRT); QEMU said: qemu: out of luck",
        ),
        (
            "QEMU gave up",
            with(&|c| (c.qemu, c.stderr) = (QemuEnd::Exited(1), STDERR)),
            "VANISHED",
            "QEMU exited with 1 by itself while the scenario ran; QEMU said: qemu: out of luck",
        ),
        (
            "QEMU ended by a signal",
            case().shutdown("host-signal"),
            "VANISHED",
            "a signal told QEMU to end (host-signal)",
        ),
        (
            "QEMU ended by its monitor",
            case().shutdown("host-qmp-quit"),
            "VANISHED",
            "through its monitor (host-qmp-quit)",
        ),
        ("QEMU met an error", case().shutdown("host-error"), "VANISHED", "(host-error)"),
        (
            "QEMU was stopped",
            with(&|c| (c.loss, c.qemu) = (limit(Deadline::Silence), QemuEnd::Lived { stopped: true })),
            "VANISHED",
            "a signal had stopped it (its state is T) while the scenario ran",
        ),
        (
            "sockets closed",
            with(&|c| c.qemu = lived.clone()),
            "VANISHED",
            "QEMU closed its sockets while the scenario ran, and lived on",
        ),
        (
            "QMP closed",
            with(&|c| (c.loss, c.qemu, c.monitor.closed) = (limit(Deadline::Scenario), lived.clone(), true)),
            "TIMEOUT",
            "QEMU had closed its QMP socket and lived on",
        ),
        ("cut stream", with(&|c| (c.qemu, c.link.cut) = (QemuEnd::Killed(9), Some(CUT_FRAME))), "VANISHED", CUT),
        (
            "garbage",
            with(&|c| c.loss = GuestLoss::Violation(Violation::NotAMessage { error: "noise".to_owned() })),
            "GARBLED",
            "noise",
        ),
        (
            "cut console",
            with(&|c| (c.loss, c.qemu) = (GuestLoss::ConsoleCut, lived.clone())),
            "GARBLED",
            "the console was cut",
        ),
        (
            "reset before its console had caught up",
            with(&|c| c.loss = GuestLoss::ConsoleCut).shutdown("guest-reset"),
            "VANISHED",
            "the guest's machine was reset while the scenario ran",
        ),
        (
            "killed before its console had caught up",
            with(&|c| (c.loss, c.qemu) = (GuestLoss::ConsoleCut, QemuEnd::Killed(9))),
            "VANISHED",
            "killed by signal 9",
        ),
        (
            "slow host",
            with(&|c| (c.loss, c.qemu) = (losses()[8].clone(), lived.clone())),
            "TIMEOUT",
            "within 1 s (--scenario-timeout), 50 ms more because the host was busy",
        ),
        ("a watchdog device", with(&|c| c.monitor.watchdog = Some("reset".to_owned())), "VANISHED", "ran out (reset)"),
        (
            "the run's limit",
            with(&|c| (c.loss, c.qemu) = (GuestLoss::RunLimit { limit_ms: 9 }, lived.clone())),
            "TIMEOUT",
            "the run did not end within 9 ms (--timeout)",
        ),
    ] {
        let of = of(&case.evidence());
        assert!(of.label() == verdict && of.detail().contains(text), "{name}: {of:?}");
    }
}
