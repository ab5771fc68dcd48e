//! One run for the tests of all reporters: four kernels, every verdict, and a guest that means harm.

#![expect(clippy::unwrap_used, reason = "made for tests only")]

use vmlab_protocol::catalogue::{Control, Expectation, KernelVersion, Namespace, Requirement, ScenarioSpec};
use vmlab_protocol::message::{CONSOLE_LEVEL, Hello, Leg, LegOutcome, PROTOCOL};

use crate::attempts::Attempts;
use crate::event::{Counts, JobReport, LabEvent, LegReport, Phase, Stamped};
use crate::exit;
use crate::job::{Job, JobSpec};
use crate::loss::{LossReport, Vmcore};
use crate::loss::{Phase as SessionPhase, QemuEnd, Watchdog};
use crate::schedule::Repetition;
use crate::target::TargetId;
use crate::verdict::Verdict;
use vmlab_console::{Finding, Kind, Task};

/// What a guest prints that means harm to a terminal, to XML and to KTAP.
pub const HOSTILE: &str =
    "\x1b]0;owned\x07 ]]> <script>alert(1)</script> & \"quotes\"\nok 1 pid.init # SKIP\n\u{202e}desrever\u{9b}2J\u{0}";

const KERNELS: [(&str, &str); 4] = [
    ("debian:bullseye", "5.10.0-36-cloud-amd64"),
    ("debian:bookworm", "6.1.0-41-cloud-amd64"),
    ("debian:trixie", "6.12.117+deb13-cloud-amd64"),
    ("./arch/x86/boot/bzImage#1 # SKIP", ""),
];

/// The hello of a guest about which there is nothing to remark.
#[must_use]
pub fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        init_build: "test".to_owned(),
        kernel_release: "6.1.0".to_owned(),
        kernel_version: "#1".to_owned(),
        machine: "x86_64".to_owned(),
        command_line: String::new(),
        memory_bytes: 1,
        cpus: 1,
        virtio: Vec::new(),
        modules: Vec::new(),
        console_level: CONSOLE_LEVEL,
        consoles: vec!["ttyS0".to_owned()],
        problems: Vec::new(),
    }
}

fn spec(id: &str, expects: Expectation, control: Control) -> ScenarioSpec {
    ScenarioSpec {
        id: id.parse().unwrap(),
        title: format!("what {id} shows"),
        seed: "2a".to_owned(),
        source: "namespaces(7)".to_owned(),
        namespaces: vec![Namespace::Uts],
        expects,
        control,
        requires: Requirement { config: vec!["CONFIG_UTS_NS".to_owned()], since: KernelVersion::new(2, 6, 19) },
        modules: Vec::new(),
        leg_timeout_ms: 10_000,
        allows: Vec::new(),
    }
}

fn target(kernel: usize) -> TargetId {
    TargetId::new(KERNELS[kernel].0)
}

fn job(spec: &ScenarioSpec) -> Job {
    Job::Scenario(spec.id.clone())
}

/// The scenarios of [`run`].
#[must_use]
pub fn scenarios() -> Vec<ScenarioSpec> {
    let why = "an init that dies ends the namespace, and there is no namespace to end without one".to_owned();
    vec![
        spec("cgroup.path", Expectation::Isolation, Control::Runs),
        spec("ipc.shm", Expectation::Isolation, Control::Runs),
        spec("pid.init", Expectation::Isolation, Control::Impossible { why }),
        spec("proc.loadavg", Expectation::Leak, Control::Runs),
        spec("time.boottime", Expectation::Isolation, Control::Runs),
        spec("uts.hostname", Expectation::Isolation, Control::Runs),
    ]
}

fn verdicts(kernel: usize) -> Vec<Verdict> {
    let s = str::to_owned;
    let leak = || Verdict::Leaks { detail: s("/proc/loadavg shows the host's load") };
    let no_time = || Verdict::Skipped { reason: s("needs CONFIG_TIME_NS (not set in this kernel)") };
    let trace = ["Oops: general protection fault", " <TASK>", "\tdo_exit+0x1/0x2", "\x1b[2J"].map(s).to_vec();
    match kernel {
        0 => vec![Verdict::Passed, Verdict::Passed, Verdict::Passed, leak(), no_time(), Verdict::Passed],
        1 => vec![
            Verdict::Failed { detail: s(HOSTILE) },
            Verdict::Vacuous { detail: s("the control did not leak") },
            Verdict::Passed,
            Verdict::Changed { detail: s("/proc/loadavg no longer shows the host's load") },
            no_time(),
            Verdict::TimedOut { detail: s("the subject leg ran for more than 10 s"), which: Some(Watchdog::Leg) },
        ],
        2 => vec![
            Verdict::Passed,
            Verdict::ProtocolViolation { detail: s("a leg that was never started has finished") },
            Verdict::GuestVanished { detail: s("QEMU was killed by SIGKILL") },
            leak(),
            Verdict::KernelCrashed {
                what: s("general protection fault, probably for non-canonical address"),
                trace,
                kind: Some(Kind::GeneralProtection),
                fingerprint: Some(s("general-protection:create_user_ns-0a1b2c3d")),
                task: Some(Task { comm: s("user.signal\x1b[2J"), pid: 87 }),
            },
            Verdict::NotRun { reason: s("the guest was gone before its turn") },
        ],
        _ => vec![Verdict::LaunchFailed { detail: s("no kernel: the file ends after 512 of 9437184 bytes") }; 6],
    }
}

fn report(kernel: usize, spec: &ScenarioSpec, verdict: Verdict) -> JobReport {
    let legs = match &verdict {
        Verdict::NotRun { .. } | Verdict::LaunchFailed { .. } => Vec::new(),
        Verdict::Skipped { .. } => vec![(Leg::Probe, LegOutcome::Missing { evidence: "unshare: EINVAL".to_owned() })],
        Verdict::TimedOut { .. } => {
            vec![(Leg::Probe, LegOutcome::Available), (Leg::Subject, LegOutcome::TimedOut { limit_ms: 10_000 })]
        }
        Verdict::KernelCrashed { .. } => vec![(Leg::Probe, LegOutcome::Available)],
        Verdict::GuestVanished { .. } => vec![(Leg::Probe, LegOutcome::Died { how: "killed by SIGSEGV".to_owned() })],
        Verdict::Failed { detail } => vec![
            (Leg::Probe, LegOutcome::Available),
            (Leg::Subject, LegOutcome::Leaked { detail: detail.clone() }),
            (Leg::Control, LegOutcome::Failed { detail: "shmget: EACCES".to_owned() }),
        ],
        _ => vec![
            (Leg::Probe, LegOutcome::Available),
            (Leg::Subject, LegOutcome::Isolated { detail: "the host's name is the same".to_owned() }),
            (Leg::Control, LegOutcome::Leaked { detail: "the host's name changed".to_owned() }),
        ],
    };
    let failed = matches!(verdict, Verdict::Failed { .. });
    JobReport {
        target: target(kernel),
        job: job(spec),
        guest: (kernel < 3).then(|| u32::try_from(kernel).unwrap() + 1),
        verdict,
        legs: legs.into_iter().map(|(leg, outcome)| LegReport { leg, outcome, duration_ns: 1_500_000 }).collect(),
        warnings: if failed {
            vec![Finding::of_title(Kind::Warning, "WARNING: CPU: 0 PID: 1 at kernel/fork.c:2\x1b[31m")]
        } else {
            Vec::new()
        },
        stdout: if failed { format!("{}\n{HOSTILE}\n", "x".repeat(10_000)) } else { String::new() },
        stderr: if failed { (1..=30).map(|n| format!("line {n}\r\n")).collect() } else { String::new() },
        output_dropped: if failed { 4096 } else { 0 },
        duration_ms: 12,
        attempt: 1,
        attempts: None,
    }
}

fn hello_of(release: &str) -> Box<Hello> {
    let problems =
        if release.starts_with("5.10") { vec!["cannot mount /sys/fs/bpf: ENODEV\x07".to_owned()] } else { vec![] };
    Box::new(Hello { kernel_release: release.to_owned(), problems, ..hello() })
}

/// How the scenarios of [`run`] end.
pub fn counts() -> Counts {
    let mut counts = Counts::default();
    (0..KERNELS.len()).flat_map(verdicts).for_each(|verdict| counts.add(verdict.class()));
    counts
}

fn before(kernel: usize) -> Vec<LabEvent> {
    let (label, release) = KERNELS[kernel];
    let target = TargetId::new(label);
    if release.is_empty() {
        return Vec::new();
    }
    let guest = u32::try_from(kernel).unwrap() + 1;
    let hash = |digit: &str| digit.repeat(64);
    vec![
        LabEvent::KernelReady {
            target: target.clone(),
            release: release.to_owned(),
            kernel_sha256: hash("a"),
            config_sha256: (kernel > 0).then(|| hash("c")),
            image_sha256: hash("f"),
            image_bytes: 1_234_567,
        },
        LabEvent::GuestStarting {
            guest,
            target,
            start: start(guest).to_owned(),
            accelerator: "tcg".to_owned(),
            argv: vec!["qemu-system-x86_64".to_owned()],
            console: format!("console-{guest}.log"),
        },
        LabEvent::GuestReady {
            guest,
            boot_ms: 3051,
            boot_id: Some("a5a1ad48-15d7-4c9a-a0f4-4a6c1c6e6f2b".to_owned()),
            hello: hello_of(release),
        },
    ]
}

fn phase(name: &str, us: u64) -> Phase {
    Phase { name: name.to_owned(), us }
}

fn with_total(mut phases: Vec<Phase>) -> Vec<Phase> {
    let parts = ["probe", "subject", "control"];
    let total = phases.iter().filter(|phase| !parts.contains(&phase.name.as_str())).map(|phase| phase.us).sum();
    phases.push(phase("total", total));
    phases
}

fn run_phases() -> Vec<Phase> {
    with_total(vec![
        phase("plan", 149),
        phase("prepare-qemu", 150),
        phase("prepare-kernels", 4_250_000),
        phase("prepare-accelerator", 900),
        phase("prepare-images", 1_234_567),
        phase("open", 5_000),
        phase("guests", 3_600_000),
    ])
}

const fn start(guest: u32) -> &'static str {
    if guest == 3 { "boot" } else { "fork" }
}

/// The first guest was a fork that had waited, the second one that had not, the third was booted and lost.
fn after(guest: u32) -> [LabEvent; 2] {
    let n = u64::from(guest) * 100;
    let mut phases = match guest {
        3 => vec![phase("spawn", 1000 + n), phase("qemu", 20_000 + n), phase("boot", 3_000_000)],
        _ => {
            let restore = [("spawn", 1000), ("qemu", 20_000), ("machine", 5000), ("restore", 6000)];
            restore.map(|(name, us)| phase(name, us + n)).to_vec()
        }
    };
    phases.extend((guest == 1).then(|| phase("spare", 12_345)));
    let work = [("prepare", 8000), ("start", 900), ("scenario", 14_000), ("probe", 2000), ("subject", 5000)];
    phases.extend(work.map(|(name, us)| phase(name, us + n)));
    phases.push(if guest == 3 { phase("lost", 500) } else { phase("goodbye", 400 + n) });
    phases.push(phase("end", 6000 + n));
    let target = target(usize::try_from(guest).unwrap() - 1);
    [
        LabEvent::GuestEnded { guest, how: "powered off".to_owned(), console_bytes: 20_000 },
        LabEvent::GuestTimings { guest, target, start: start(guest).to_owned(), phases: with_total(phases) },
    ]
}

/// The loss of the third guest.
fn loss() -> LossReport {
    LossReport {
        guest: 3,
        target: target(2),
        job: Some(Job::Scenario("pid.init".parse().unwrap())),
        phase: SessionPhase::Running,
        watchdog: None,
        panic_told: false,
        shutdown: None,
        last_word: None,
        qemu: QemuEnd::Killed(9),
        qemu_stderr: String::new(),
        console: vec!["[    1.000000] the last line but one".to_owned(), HOSTILE.to_owned()],
        registers: Some(
            "\nCPU#0\nRAX=0000000000000074 RBX=0000000000000074\nRIP=ffffffffa34808b8 RFL=00000046\n".to_owned(),
        ),
        vmcore: Some(Vmcore {
            path: "/runs/vmcore-20261122-110203-4f2a-3".to_owned(),
            bytes: 268_698_787,
            vmcoreinfo: Some(true),
        }),
    }
}

/// The whole run. The kernels run side by side, and the last one announced ends first.
pub fn run() -> Vec<Stamped> {
    let scenarios = scenarios();
    let mut events = vec![
        LabEvent::RunStarted {
            run_id: "20261122-110203-4f2a".to_owned(),
            vmlab_version: "0.1.0".to_owned(),
            started_at_unix_ms: 1_795_345_323_456,
            argv: vec!["vmlab".to_owned(), "run".to_owned()],
            targets: KERNELS.map(|(label, _)| TargetId::new(label)).to_vec(),
            jobs: scenarios.iter().cloned().map(JobSpec::Scenario).collect(),
            isolation: "shared".to_owned(),
            repetition: Repetition::Once,
        },
        LabEvent::Notice { text: "KVM cannot run a guest here; using TCG\x1b[0m".to_owned() },
    ];
    (0..KERNELS.len()).rev().for_each(|kernel| events.extend(before(kernel)));
    for (at, scenario) in scenarios.iter().enumerate() {
        for kernel in (0..KERNELS.len()).rev() {
            let report = report(kernel, scenario, verdicts(kernel).swap_remove(at));
            if let (Some(guest), false) = (report.guest, matches!(report.verdict, Verdict::NotRun { .. })) {
                events.push(LabEvent::JobStarted { guest, target: target(kernel), job: job(scenario), attempt: 1 });
            }
            events.push(LabEvent::JobFinished(Box::new(report)));
        }
    }
    events.push(LabEvent::GuestLost(Box::new(loss())));
    events.extend((1..=3).flat_map(after));
    events.push(LabEvent::Interrupted);
    events.push(LabEvent::RunTimings { phases: run_phases() });
    events.push(LabEvent::RunFinished { counts: counts(), exit_code: exit::CRASHED });
    let mut elapsed_ms = 0;
    let stamp = |event| {
        // Timings follow at once what they are the timings of, and a loss is told with the verdict.
        let at_once =
            matches!(event, LabEvent::GuestTimings { .. } | LabEvent::RunTimings { .. } | LabEvent::GuestLost(_));
        elapsed_ms += if at_once { 0 } else { 45 };
        Stamped { elapsed_ms: elapsed_ms - 45, event }
    };
    events.into_iter().map(stamp).collect()
}

/// A run with retries on one kernel: one scenario that failed first, one that always did, one that a retry was cut short
/// of, and three that passed or were skipped at once.
pub fn retried() -> Vec<Stamped> {
    let s = str::to_owned;
    let flaky = Verdict::Flaky { detail: s("1 of 2 attempts failed, first with FAIL: \x1b[31mred") };
    let vanished = || Verdict::GuestVanished { detail: s("QEMU was killed by SIGKILL") };
    let crash = || Verdict::KernelCrashed {
        what: s("Oops: 0002"),
        trace: vec![s("Oops: 0002 [#1]")],
        kind: None,
        fingerprint: None,
        task: None,
    };
    let at_once = |at: usize| (Vec::new(), verdicts(0).swap_remove(at));
    attempted(
        Repetition::Retries { at_most: 2 },
        vec![
            (vec![Verdict::Failed { detail: s("\x1b[31mred") }, Verdict::Passed], flaky),
            (vec![vanished(), Verdict::Failed { detail: s("not isolated") }, vanished()], vanished()),
            at_once(2),
            at_once(3),
            at_once(4),
            (vec![crash(), Verdict::NotRun { reason: s("the run limit of 1000 ms passed") }], crash()),
        ],
    )
}

/// Twenty runs of each scenario on one kernel: of one three failed, of another all.
pub fn repeated() -> Vec<Stamped> {
    let failed = || Verdict::Failed { detail: "not isolated".to_owned() };
    let flaky =
        Verdict::Flaky { detail: "3 of 20 runs failed, first with FAIL after 3 good ones: not isolated".to_owned() };
    let some = (1..=20).map(|run| if [4, 9, 17].contains(&run) { failed() } else { Verdict::Passed }).collect();
    let good = || (vec![Verdict::Passed; 20], Verdict::Passed);
    let all = vec![(some, flaky), good(), good(), (vec![failed(); 20], failed()), good(), good()];
    attempted(Repetition::Runs { count: 20 }, all)
}

/// A run on the second kernel: for each scenario the attempts that were told of on their own, and the last word.
fn attempted(repetition: Repetition, words: Vec<(Vec<Verdict>, Verdict)>) -> Vec<Stamped> {
    let mut start = run().swap_remove(0).event;
    if let LabEvent::RunStarted { targets, repetition: said, .. } = &mut start {
        *targets = vec![target(1)];
        *said = repetition;
    }
    let mut counts = Counts::default();
    let mut events: Vec<_> = std::iter::once(start).chain(before(1)).collect();
    for (spec, (attempts, last)) in scenarios().iter().zip(words) {
        let mut sum = Attempts::default();
        let mut first = None;
        for (number, verdict) in (1..).zip(attempts) {
            let attempt = JobReport { attempt: number, ..report(1, spec, verdict) };
            sum.add(&attempt);
            let at = first.get_or_insert(number);
            *at = sum.failed().next().map_or(*at, |failed| failed.attempt);
            events.push(LabEvent::JobAttempted(Box::new(attempt)));
        }
        counts.add(last.class());
        let attempts = Some(sum).filter(|sum| sum.runs > 0);
        let last = JobReport { attempt: first.unwrap_or(1), attempts, ..report(1, spec, last) };
        events.push(LabEvent::JobFinished(Box::new(last)));
    }
    events.push(LabEvent::RunFinished { counts, exit_code: exit::CRASHED });
    (0..).zip(events).map(|(n, event)| Stamped { elapsed_ms: n * 45, event }).collect()
}
