//! Every typed detail, as JSON and as text: what consumers of the events match, and what people read.

use vmlab_console::Kind;
use vmlab_protocol::catalogue::KernelVersion;
use vmlab_protocol::frame::{Damage, Truncated};
use vmlab_protocol::message::{GuestMessage, Leg, LegOutcome};

use crate::event::{GuestOutcome, JobReport, LabEvent, NotNeeded, Stamped};
use crate::job::Job;
use crate::log;
use crate::loss::{Deadline, Phase, QemuEnd, ShutdownLine, ShutdownReason};
use crate::schedule::AttemptKind;
use crate::target::TargetId;
use crate::verdict::*;

fn s(text: &str) -> String {
    text.to_owned()
}

fn version(minor: u32) -> KernelVersion {
    KernelVersion::new(5, minor, 0)
}

fn bare(phase: Phase) -> LossEvidence {
    crate::fixture::evidence_in(phase, QemuEnd::Lived { stopped: false })
}

fn full() -> LossEvidence {
    LossEvidence {
        shutdown: Some(ShutdownReason::GuestReset),
        reset: Some(ShutdownReason::GuestReset),
        shutdown_line: Some(ShutdownLine::Restarting),
        watchdog_device: Some(s("reset")),
        refused: Some(RefusedCommand { command: s("getfd"), error: s("no") }),
        cut_frame: Some(Truncated { have: 3, need: 16 }),
        port_closed: true,
        qmp_closed: true,
        qemu_stderr: s("qemu: out of luck"),
        init_messages: vec![s("no port"), s("giving up")],
        lacking: Some(LackingDrivers::Modules { names: vec![s("virtio_pci"), s("virtio_console")] }),
        ..bare(Phase::Running)
    }
}

fn failures() -> Vec<Verdict> {
    let all = [
        Failure::NotIsolated { finding: s("it showed") },
        Failure::LegFailed { leg: Leg::Control, detail: s("sethostname: EPERM") },
        Failure::LegDied { leg: Leg::Subject, how: s("killed by SIGSEGV") },
        Failure::KernelWarned {
            title: s("WARNING: at x.c:1"),
            warning: Kind::Warning,
            fingerprint: Some(s("warning:f-1")),
        },
        Failure::FeatureMissing { symbols: vec![s("CONFIG_A"), s("CONFIG_B")], evidence: s("EINVAL") },
        Failure::FeatureMissing { symbols: Vec::new(), evidence: s("EINVAL") },
        Failure::TestsFailed { failed: vec![s("a"), s("b/1")], of: 12 },
        Failure::TestsFailed { failed: ["a", "b", "c", "d", "e", "f"].map(s).to_vec(), of: 6 },
        Failure::BadResults { problem: s("line 3: the plan is missing") },
        Failure::Invalid { operation: s("getpid"), control_permille: 31, interval_permille: Some(4), blocks: 9 },
        Failure::Recorded { text: s("as recorded") },
    ];
    all.map(|reason| Verdict::Failed { reason }).into()
}

fn skips() -> Vec<Verdict> {
    let evidence = || s("unshare: EINVAL");
    let all = [
        SkipReason::ConfigNotSet { symbols: vec![s("CONFIG_A")], evidence: evidence() },
        SkipReason::KernelTooOld { since: version(6), version: version(4), evidence: evidence() },
        SkipReason::Disabled { parameter: s("psi=0"), symbol: s("CONFIG_PSI"), evidence: evidence() },
        SkipReason::ConfigUnknown { newer: Some(version(6)), evidence: evidence() },
        SkipReason::ConfigUnknown { newer: None, evidence: evidence() },
        SkipReason::NoSuite { evidence: evidence() },
        SkipReason::Inconclusive { why: s("bounce: there is one CPU") },
        SkipReason::NoTests,
        SkipReason::TestsSkipped { why: s("needs a timer") },
        SkipReason::TestsSkipped { why: String::new() },
        SkipReason::Recorded { text: s("as recorded") },
    ];
    all.map(|reason| Verdict::Skipped { reason }).into()
}

fn seen() -> Vec<Verdict> {
    let finding = || Seen::Finding(s("it showed"));
    vec![
        Verdict::Passed,
        Verdict::Vacuous { seen: finding() },
        Verdict::Leaks { seen: finding() },
        Verdict::Changed { seen: finding() },
        Verdict::Changed { seen: Seen::Recorded(s("as recorded")) },
    ]
}

fn passed(deadline: Deadline) -> PassedDeadline {
    let guest_state = Some(GuestState::Known(s("running")));
    PassedDeadline { deadline, limit_ms: 1000, stretched_ms: 50, guest_state }
}

fn timeouts() -> Vec<Verdict> {
    let unanswered = PassedDeadline {
        stretched_ms: 0,
        guest_state: Some(GuestState::Unknown(s("no answer"))),
        ..passed(Deadline::Exit)
    };
    let all = [
        Timeout::Leg { leg: Leg::Subject, limit_ms: 60_000 },
        Timeout::Guest { passed: passed(Deadline::Silence), evidence: Box::new(full()) },
        Timeout::Guest { passed: passed(Deadline::Command), evidence: Box::new(full()) },
        Timeout::Guest { passed: passed(Deadline::Alive), evidence: Box::new(full()) },
        Timeout::Guest { passed: passed(Deadline::Scenario), evidence: Box::new(bare(Phase::Running)) },
        Timeout::Guest { passed: unanswered, evidence: Box::new(full()) },
        Timeout::Recorded { deadline: Some(Deadline::Exit), text: s("as recorded") },
        Timeout::Recorded { deadline: None, text: s("as recorded") },
    ];
    all.map(|reason| Verdict::TimedOut { reason }).into()
}

fn crashes() -> Vec<Verdict> {
    let crash = |pvpanic, suite: Option<&str>, trace: &[&str]| Verdict::KernelCrashed {
        what: s("BUG: x"),
        trace: trace.iter().map(|line| s(line)).collect(),
        kind: Some(Kind::Bug),
        fingerprint: Some(s("bug:f-1")),
        task: None,
        pvpanic,
        suite: suite.map(s),
    };
    vec![
        crash(None, None, &["BUG: x"]),
        crash(None, Some("list-kunit-test"), &["BUG: x"]),
        crash(Some(Phase::Running), None, &["last line"]),
        crash(Some(Phase::Boot), None, &[]),
    ]
}

fn losses() -> Vec<Verdict> {
    let ended = |guest| LossCause::Ended { guest };
    let fault = |fault| (LossCause::HostFault { fault }, bare(Phase::Idle));
    let by = |reason| LossEvidence { shutdown: Some(reason), ..bare(Phase::Running) };
    let qemu = |qemu| LossEvidence { qemu, ..bare(Phase::Asked) };
    let error = || s("Broken pipe");
    let all = [
        (LossCause::HostEndedQemu, by(ShutdownReason::HostSignal)),
        (LossCause::HostEndedQemu, by(ShutdownReason::HostMonitor(s("host-qmp-quit")))),
        (LossCause::HostEndedQemu, by(ShutdownReason::HostError)),
        (LossCause::QemuKilled, qemu(QemuEnd::Killed(9))),
        (LossCause::QemuStopped, qemu(QemuEnd::Lived { stopped: true })),
        (LossCause::KernelBroke, bare(Phase::Idle)),
        fault(HostFault::Read { error: error() }),
        fault(HostFault::Write { error: error() }),
        fault(HostFault::Entropy { error: error() }),
        fault(HostFault::Refused(RefusedCommand { command: s("getfd"), error: s("no") })),
        (ended(Some(GuestEnd::Halted)), bare(Phase::Leaving)),
        (ended(Some(GuestEnd::PoweredOff)), by(ShutdownReason::GuestShutdown)),
        (ended(Some(GuestEnd::Rebooted)), full()),
        (ended(Some(GuestEnd::Reset)), by(ShutdownReason::GuestReset)),
        (ended(Some(GuestEnd::ShutDown)), by(ShutdownReason::Other(s("snapshot-load")))),
        (ended(Some(GuestEnd::MachineReset)), qemu(QemuEnd::Exited(0))),
        (ended(None), qemu(QemuEnd::Exited(1))),
        (ended(None), qemu(QemuEnd::Unknown(s("it cannot be reaped: EIO")))),
        (ended(None), bare(Phase::Over)),
    ];
    let lost = all.map(|(cause, evidence)| Vanished::Lost { cause, evidence: Box::new(evidence) });
    let others = [Vanished::NothingAnnounced, Vanished::Recorded { text: s("as recorded") }];
    lost.into_iter().chain(others).map(|reason| Verdict::GuestVanished { reason }).collect()
}

fn launches() -> Vec<Verdict> {
    let boot = || Box::new(bare(Phase::Boot));
    let console = |kernel_spoke, parameter| {
        Some(Box::new(BootConsole { last_line: s("Probing EDD"), kernel_spoke, memory_mib: 32, parameter }))
    };
    let limit = || Some(s("mem=64M"));
    let device = || s("virtio0 console (id 3): VERSION_1");
    let mismatches = [
        Mismatch::Release { guest: s("5.10.0"), asked: s("6.1.0") },
        Mismatch::Cpus { guest: 2, asked: 1 },
        Mismatch::Memory { guest_mib: 64, asked_mib: 256 },
        Mismatch::Consoles { count: 0 },
        Mismatch::NoDriver { device: device(), status: 3 },
        Mismatch::DeviceFailed { device: device(), status: 0x8f },
        Mismatch::LegacyDevice { device: device() },
        Mismatch::ConsoleLevel { level: 4, needed: 5 },
        Mismatch::OtherConsole { needed: s("ttyS0"), used: vec![s("tty0"), s("ttyS1")] },
        Mismatch::OtherConsole { needed: s("ttyS0"), used: Vec::new() },
    ];
    let ended = LossCause::Ended { guest: None };
    let not_started = |step| LaunchFailure::NotStarted { step, error: s("Permission denied") };
    let mut all = vec![
        not_started(StartFailure::TemplateState),
        not_started(StartFailure::Entropy),
        not_started(StartFailure::Debugger),
        not_started(StartFailure::Link),
        not_started(StartFailure::Process),
        LaunchFailure::Lost { cause: ended.clone(), evidence: boot(), console: console(true, None) },
        LaunchFailure::Lost { cause: ended, evidence: boot(), console: None },
        LaunchFailure::TimedOut { passed: passed(Deadline::Boot), evidence: boot(), console: console(false, None) },
        LaunchFailure::TimedOut { passed: passed(Deadline::Boot), evidence: boot(), console: console(false, limit()) },
        LaunchFailure::TimedOut { passed: passed(Deadline::Handshake), evidence: boot(), console: None },
        LaunchFailure::ConsoleSilent { evidence: boot() },
        LaunchFailure::OutOfMemory { line: s("System is deadlocked on memory"), memory_mib: 64, parameter: None },
        LaunchFailure::OutOfMemory { line: s("System is deadlocked on memory"), memory_mib: 64, parameter: limit() },
        LaunchFailure::WrongMachine {
            mismatch: Mismatch::Memory { guest_mib: 64, asked_mib: 256 },
            evidence: boot(),
            parameter: limit(),
        },
        LaunchFailure::Recorded { text: s("as recorded") },
    ];
    all.extend(mismatches.map(|mismatch| LaunchFailure::WrongMachine { mismatch, evidence: boot(), parameter: None }));
    all.into_iter().map(|reason| Verdict::LaunchFailed { reason }).collect()
}

fn violations() -> Vec<Verdict> {
    let message = || Box::new(GuestMessage::JobFinished { run: 1 });
    let states = [
        SessionState::AwaitsHello,
        SessionState::Greeted,
        SessionState::Preparing,
        SessionState::Idle,
        SessionState::Asked(job()),
        SessionState::Running(job()),
        SessionState::Leaving,
        SessionState::Over,
    ];
    let outcome = LegOutcome::Leaked { detail: s("seen") };
    let mut all = vec![
        Violation::LinkDamaged { bytes: 7, why: Damage::Garbage },
        Violation::LinkDamaged { bytes: 16, why: Damage::Oversize(2_000_000) },
        Violation::NotAMessage { error: s("not a message of this protocol: x") },
        Violation::WrongSequence { expected: 3, got: 4 },
        Violation::UnexpectedOutput { run: 7, state: SessionState::Idle },
        Violation::WrongProtocol { guest: 2, host: 1 },
        Violation::Refused { job: job(), why: s("no scenario is named so") },
        Violation::LegOutOfOrder { job: job(), leg: Leg::Subject, due: Some(Leg::Probe) },
        Violation::LegOutOfOrder { job: job(), leg: Leg::Control, due: None },
        Violation::ImpossibleOutcome { job: job(), leg: Leg::Probe, outcome: outcome.clone() },
        Violation::EndedEarly { job: job(), due: Leg::Control },
        Violation::WrongCount { guest: 2, host: 1 },
        Violation::ConsoleCut,
        Violation::Undecided { subject: Some(outcome), control: None },
        Violation::WrongOrder { order: Order::Prepare, state: SessionState::Idle },
        Violation::WrongOrder { order: Order::Run(job()), state: SessionState::Leaving },
        Violation::WrongOrder { order: Order::Finish, state: SessionState::Running(job()) },
        Violation::NotEncodable { error: s("2000000 bytes do not fit into one frame") },
        Violation::Recorded { text: s("as recorded") },
    ];
    all.extend(states.map(|state| Violation::UnexpectedMessage { message: message(), state }));
    let mut verdicts: Vec<_> =
        all.into_iter().map(|reason| Verdict::ProtocolViolation { reason, evidence: None }).collect();
    let (reason, evidence) = (Violation::ConsoleCut, Some(Box::new(full())));
    verdicts.push(Verdict::ProtocolViolation { reason, evidence });
    verdicts
}

fn of_several() -> Vec<Verdict> {
    let failed = || Box::new(failures().remove(0));
    let some = |unit, good_before| Flakiness::SomeFailed { unit, runs: 20, failures: 3, good_before, first: failed() };
    let why = SkipReason::ConfigUnknown { newer: None, evidence: s("ENOSYS") };
    let flaky = [
        some(AttemptKind::Attempt, 0),
        some(AttemptKind::Run, 1),
        some(AttemptKind::Run, 2),
        Flakiness::SomeSkipped { runs: 3, why },
        Flakiness::Recorded { text: s("as recorded") },
    ];
    let not_run = [
        NotRunReason::Interrupted,
        NotRunReason::RunLimit { limit_ms: 90_000 },
        NotRunReason::FailureFound { job: job(), target: TargetId::new("debian:trixie") },
        NotRunReason::CutShort { by: Box::new(timeouts().remove(2)) },
        NotRunReason::TooFewRuns { runs: 1, planned: 3, because: Box::new(Verdict::missing(true)) },
        NotRunReason::NoVerdict,
        NotRunReason::LabFault,
        NotRunReason::Recorded { text: s("as recorded") },
    ];
    let flaky = flaky.map(|reason| Verdict::Flaky { reason });
    flaky.into_iter().chain(not_run.map(|reason| Verdict::NotRun { reason })).collect()
}

fn job() -> Job {
    Job::Scenario("uts.hostname".parse().unwrap())
}

fn every_verdict() -> Vec<Verdict> {
    [failures(), skips(), seen(), timeouts(), crashes(), losses(), launches(), violations(), of_several()].concat()
}

/// As it is in an event log, and read from there again.
fn through_a_log(event: LabEvent) -> serde_json::Value {
    let stamped = Stamped { elapsed_ms: 1, event };
    let line = log::encode(&stamped).unwrap();
    assert_eq!(log::decode_line(&line), Some(stamped), "{}", String::from_utf8_lossy(&line));
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn every_verdict_has_a_text_and_survives_a_log() {
    let mut texts = String::new();
    for verdict in every_verdict() {
        let detail = verdict.detail();
        assert!(verdict == Verdict::Passed || !detail.is_empty(), "{verdict:?}");
        assert!(!detail.contains('\n') && !detail.contains(";;") && !detail.contains("; ;"), "{detail}");
        texts.push_str(&format!("{} {detail}\n", verdict.label()));
        let report = JobReport::without_guest(TargetId::new("k"), job(), verdict.clone());
        through_a_log(LabEvent::JobFinished(Box::new(report.clone())));
        let mut attempts = crate::attempts::Attempts::default();
        attempts.add(report.in_short());
        through_a_log(LabEvent::JobFinished(Box::new(JobReport { attempts: Some(attempts), ..report })));
        through_a_log(LabEvent::GuestEnded {
            guest: 1,
            how: GuestOutcome::Lost { verdict: Box::new(verdict) },
            console_bytes: 0,
        });
    }
    insta::assert_snapshot!(texts);
}

#[test]
fn consumers_of_json_match_fields() {
    let mut lines = String::new();
    for verdict in every_verdict() {
        lines.push_str(&format!("{}\n", serde_json::to_string(&verdict).unwrap()));
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn every_end_of_a_guest_has_a_text_and_survives_a_log() {
    let reason = LaunchFailure::NotStarted { step: StartFailure::Process, error: s("EACCES") };
    for (how, text) in [
        (GuestOutcome::Done, "done"),
        (GuestOutcome::Lost { verdict: Box::new(Verdict::missing(true)) }, "the run was interrupted"),
        (GuestOutcome::NotStarted { reason }, "EACCES"),
        (
            GuestOutcome::NotNeeded { reason: NotNeeded::NoMoreWork },
            "not needed: it was started ahead, and there was no more work",
        ),
        (
            GuestOutcome::NotNeeded { reason: NotNeeded::TemplateGivenUp },
            "not needed: it is a fork of a template that was given up",
        ),
        (GuestOutcome::Recorded { text: s("powered off") }, "powered off"),
    ] {
        assert_eq!(how.to_string(), text);
        through_a_log(LabEvent::GuestEnded { guest: 1, how, console_bytes: 0 });
    }
}
