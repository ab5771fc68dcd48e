use vmlab_protocol::catalogue::Requirement;

use super::*;
use crate::verdict::Class;
use crate::verdict::console::Kind;

fn spec(expects: Expectation, control: Control) -> ScenarioSpec {
    ScenarioSpec {
        id: "time.boottime".parse().unwrap(),
        title: "a title".to_owned(),
        seed: "3c".to_owned(),
        source: "time_namespaces(7)".to_owned(),
        namespaces: Vec::new(),
        expects,
        control,
        requires: Requirement { config: vec!["CONFIG_TIME_NS".to_owned()], since: KernelVersion::new(5, 6, 0) },
        modules: Vec::new(),
        leg_timeout_ms: 1000,
        allows: Vec::new(),
    }
}

fn isolated() -> LegOutcome {
    LegOutcome::Isolated { detail: "kept".to_owned() }
}

fn leaked() -> LegOutcome {
    LegOutcome::Leaked { detail: "seen".to_owned() }
}

fn legs(outcomes: &[LegOutcome]) -> Vec<LegReport> {
    let all = [Leg::Probe, Leg::Subject, Leg::Control];
    let report = |(leg, outcome): (Leg, &LegOutcome)| LegReport { leg, outcome: outcome.clone(), duration_ns: 1 };
    all.into_iter().zip(outcomes).map(report).collect()
}

fn judged(spec: &ScenarioSpec, outcomes: &[LegOutcome], warnings: &[Finding]) -> Verdict {
    let facts = KernelFacts { version: KernelVersion::new(6, 1, 0), config: None };
    finished(spec, facts, &legs(outcomes), None, warnings)
}

#[test]
fn every_pair_of_legs_under_every_expectation() {
    use LegOutcome::Available;
    let no_control = || Control::Impossible { why: "there is none".to_owned() };
    let died = LegOutcome::Died { how: "killed by SIGSEGV".to_owned() };
    let failed = LegOutcome::Failed { detail: "EIO".to_owned() };
    let late = LegOutcome::TimedOut { limit_ms: 5 };
    for (expects, control, outcomes, word) in [
        (Expectation::Isolation, Control::Runs, vec![Available, isolated(), leaked()], "PASS"),
        (Expectation::Isolation, Control::Runs, vec![Available, leaked(), leaked()], "FAIL"),
        (Expectation::Isolation, Control::Runs, vec![Available, isolated(), isolated()], "VACUOUS"),
        (Expectation::Isolation, Control::Runs, vec![Available, leaked(), isolated()], "FAIL"),
        (Expectation::Isolation, no_control(), vec![Available, isolated()], "PASS"),
        (Expectation::Isolation, no_control(), vec![Available, leaked()], "FAIL"),
        (Expectation::Leak, Control::Runs, vec![Available, leaked(), leaked()], "LEAK"),
        (Expectation::Leak, Control::Runs, vec![Available, isolated(), leaked()], "CHANGED"),
        (Expectation::Leak, Control::Runs, vec![Available, leaked(), isolated()], "VACUOUS"),
        (Expectation::Leak, no_control(), vec![Available, leaked()], "LEAK"),
        (Expectation::Isolation, Control::Runs, vec![Available, died.clone(), leaked()], "FAIL"),
        (Expectation::Isolation, Control::Runs, vec![Available, isolated(), died], "FAIL"),
        (Expectation::Isolation, Control::Runs, vec![Available, isolated(), failed.clone()], "FAIL"),
        (Expectation::Isolation, Control::Runs, vec![failed], "FAIL"),
        (Expectation::Isolation, Control::Runs, vec![Available, late, leaked()], "TIMEOUT"),
        // What the session would never let through is not a pass here either.
        (Expectation::Isolation, Control::Runs, vec![Available, isolated()], "GARBLED"),
        (Expectation::Isolation, Control::Runs, vec![Available], "GARBLED"),
        (Expectation::Isolation, Control::Runs, vec![], "GARBLED"),
    ] {
        let verdict = judged(&spec(expects, control), &outcomes, &[]);
        assert_eq!(verdict.word(), word, "{expects:?} {outcomes:?}: {verdict:?}");
    }
}

#[test]
fn a_warning_spoils_a_pass_and_a_crash_comes_first() {
    let spec = spec(Expectation::Isolation, Control::Runs);
    let outcomes = [LegOutcome::Available, isolated(), leaked()];
    let warned = judged(&spec, &outcomes, &[Finding::of_title(Kind::Warning, "WARNING: CPU: 0 at kernel/x.c:1")]);
    assert!(matches!(&warned, Verdict::Failed { detail } if detail.contains("kernel/x.c:1")), "{warned:?}");
    let crash = Crash::of_title(Kind::Bug, "BUG: x");
    let facts = KernelFacts { version: KernelVersion::new(6, 1, 0), config: None };
    assert_eq!(finished(&spec, facts, &legs(&outcomes), Some(&crash), &[]).word(), "CRASH");
}

#[test]
fn a_missing_feature_is_a_skip_only_where_the_kernel_explains_it() {
    let spec = spec(Expectation::Isolation, Control::Runs);
    let set = KernelConfig::parse("CONFIG_TIME_NS=y\n");
    let unset = KernelConfig::parse("# CONFIG_TIME_NS is not set\n");
    let evidence = LegOutcome::Missing { evidence: "unshare(CLONE_NEWTIME): EINVAL".to_owned() };
    let judge = |config: Option<&KernelConfig>, version| {
        finished(&spec, KernelFacts { version, config }, &legs(std::slice::from_ref(&evidence)), None, &[])
    };
    let (new, old) = (KernelVersion::new(6, 1, 0), KernelVersion::new(5, 4, 0));
    let skip = judge(Some(&unset), new);
    assert!(skip.detail().starts_with("needs CONFIG_TIME_NS (not set in this kernel)"), "{skip:?}");
    assert_eq!(judge(Some(&unset), old).word(), "SKIP");
    assert!(judge(Some(&set), old).detail().starts_with("needs Linux 5.6"));
    assert_eq!(judge(Some(&set), new).word(), "FAIL");
    assert_eq!(judge(None, new).word(), "SKIP");
}

#[test]
fn a_lost_guest_is_never_good() {
    let crash = Crash::of_title(Kind::Panic, "Kernel panic - not syncing: x");
    let watchdog = GuestLoss::Watchdog { which: "boot", limit_ms: 9, state: "running".to_owned() };
    let (violation, vanished) = (GuestLoss::Violation("noise".to_owned()), GuestLoss::Vanished("gone".to_owned()));
    for (loss, booted, crash, word) in [
        (&watchdog, false, None, "NO-BOOT"),
        (&watchdog, true, None, "TIMEOUT"),
        (&watchdog, true, Some(&crash), "CRASH"),
        (&violation, true, None, "GARBLED"),
        (&violation, true, Some(&crash), "CRASH"),
        (&vanished, true, None, "VANISHED"),
        (&vanished, false, None, "NO-BOOT"),
        (&vanished, false, Some(&crash), "CRASH"),
        (&GuestLoss::WrongMachine("w".to_owned()), false, None, "NO-BOOT"),
        (&GuestLoss::Interrupted, true, None, "NOT-RUN"),
        (&GuestLoss::Interrupted, true, Some(&crash), "NOT-RUN"),
    ] {
        let verdict = lost(loss, booted, crash, &[]);
        assert_eq!(verdict.word(), word, "{loss:?} booted={booted}");
        assert!(verdict.class() > Class::Skipped);
    }
}

#[test]
fn what_init_said_on_the_console_is_in_the_verdict() {
    let loss = GuestLoss::Vanished("QEMU exited with 0".to_owned());
    let verdict = lost(&loss, false, None, &["no virtio-serial port".to_owned()]);
    assert!(verdict.detail().contains("no virtio-serial port"), "{verdict:?}");
}

#[test]
fn a_boot_for_want_of_memory_is_the_labs_failure() {
    let vanished = GuestLoss::Vanished("QEMU exited with 0".to_owned());
    let judged = |console: &str| {
        let mut reader = ConsoleReader::default();
        reader.push(console.as_bytes());
        lost_at_boot(&vanished, &reader, 64)
    };
    let linux = "[    0.0] Linux version 6.12.0\n";
    let no_root = "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n";
    for (console, word, words) in [
        (format!("{linux}[    1.0] Kernel panic - not syncing: System is deadlocked on memory\n"), "NO-BOOT", "64 MiB"),
        (format!("{linux}[    0.9] Initramfs unpacking failed: junk\n{no_root}"), "NO-BOOT", "64 MiB"),
        // Without that line it is no want of memory, nor is that line without the panic.
        (format!("{linux}{no_root}"), "CRASH", "Unable to mount root fs"),
        (format!("{linux}[    0.9] Initramfs unpacking failed: junk\n"), "NO-BOOT", "last line: [    0.9] Initramfs"),
        ("Decompressing Linux...\n".to_owned(), "NO-BOOT", "give it more with --memory"),
        // QEMU itself did not start.
        (String::new(), "NO-BOOT", "QEMU exited with 0"),
    ] {
        let verdict = judged(&console);
        assert!(verdict.word() == word && verdict.detail().contains(words), "{console}: {verdict:?}");
    }
    assert_eq!(judged("").detail(), "QEMU exited with 0");
}

#[test]
fn the_runs_end_is_not_the_guests() {
    let limit = GuestLoss::RunLimit { limit_ms: 2000 };
    assert!(limit.is_the_runs() && GuestLoss::Interrupted.is_the_runs());
    assert!(!GuestLoss::Vanished(String::new()).is_the_runs());
    assert_eq!(lost(&limit, true, None, &[]).word(), "TIMEOUT");
}

#[test]
fn what_a_scenario_allows_is_a_note_and_fails_nothing() {
    use vmlab_protocol::catalogue::Allowance;
    let mut spec = spec(Expectation::Isolation, Control::Runs);
    spec.allows =
        vec![Allowance { pattern: "memcg-oom: Memory cgroup".to_owned(), reason: "it is the limit".to_owned() }];
    let outcomes = [LegOutcome::Available, isolated(), leaked()];
    let killed = Finding::of_title(Kind::MemcgOom, "Memory cgroup out of memory: Killed process 98 (u)");
    let global = Finding::of_title(Kind::Oom, "Out of memory: Killed process 98 (u)");
    let broken = Finding::of_title(Kind::Kasan, "memcg-oom: Memory cgroup");
    for (found, word, severity) in
        [(killed, "PASS", Severity::Note), (global, "FAIL", Severity::Warned), (broken, "FAIL", Severity::Broken)]
    {
        let mut warnings = [found];
        allow(&spec, &mut warnings);
        assert_eq!(warnings[0].severity, severity, "{warnings:?}");
        assert_eq!(judged(&spec, &outcomes, &warnings).word(), word, "{warnings:?}");
    }
}
