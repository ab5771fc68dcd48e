use vmlab_protocol::catalogue::Requirement;

use super::*;
use vmlab_console::Kind;

fn spec(expects: Expectation, control: Control) -> ScenarioSpec {
    ScenarioSpec {
        id: "time.boottime".parse().unwrap(),
        title: "a title".to_owned(),
        items: vec!["3c".to_owned()],
        steps: Vec::new(),
        source: "time_namespaces(7)".to_owned(),
        namespaces: Vec::new(),
        expects,
        isolates_since: None,
        control_namespaces: Vec::new(),
        mechanism: None,
        control,
        requires: Requirement {
            config: vec!["CONFIG_TIME_NS".to_owned()],
            since: KernelVersion::new(5, 6, 0),
            backports: Vec::new(),
        },
        modules: Vec::new(),
        machine: vmlab_protocol::catalogue::MachineNeed::default(),
        leg_timeout_ms: 1000,
        allows: Vec::new(),
    }
}

fn job(spec: &ScenarioSpec) -> JobSpec {
    JobSpec::from(spec.clone())
}

fn facts() -> KernelFacts<'static> {
    KernelFacts { version: KernelVersion::new(6, 1, 0), config: None, append: None, suites: None }
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
    finished(&job(spec), facts(), &legs(outcomes), &SuiteResults::default(), None, warnings)
}

fn is_for_a_warning(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Failed { reason: Failure::KernelWarned { title, warning: Kind::Warning, .. } }
        if title.contains("kernel/x.c:1"))
}

#[test]
fn every_pair_of_legs_under_every_expectation() {
    use LegOutcome::Available;
    let no_control = || Control::Impossible { why: "there is none".to_owned() };
    let died = LegOutcome::Died { how: "killed by SIGSEGV".to_owned() };
    let failed = LegOutcome::Failed { detail: "EIO".to_owned() };
    let late = LegOutcome::TimedOut { limit_ms: 5 };
    for (expects, control, outcomes, label) in [
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
        assert_eq!(verdict.label(), label, "{expects:?} {outcomes:?}: {verdict:?}");
    }
}

#[test]
fn a_warning_spoils_a_pass_and_a_crash_comes_first() {
    let spec = spec(Expectation::Isolation, Control::Runs);
    let outcomes = [LegOutcome::Available, isolated(), leaked()];
    let warned = judged(&spec, &outcomes, &[Finding::of_title(Kind::Warning, "WARNING: CPU: 0 at kernel/x.c:1")]);
    assert!(is_for_a_warning(&warned), "{warned:?}");
    let crash = Crash::of_title(Kind::Bug, "BUG: x");
    let results = SuiteResults::default();
    assert_eq!(finished(&job(&spec), facts(), &legs(&outcomes), &results, Some(&crash), &[]).label(), "CRASH");
}

#[test]
fn a_kernel_that_warns_while_it_is_asked_for_a_feature_is_no_skip() {
    let spec = spec(Expectation::Isolation, Control::Runs);
    let outcomes = [LegOutcome::Missing { evidence: "unshare(CLONE_NEWTIME): EINVAL".to_owned() }];
    let warning = Finding::of_title(Kind::Warning, "WARNING: CPU: 0 at kernel/x.c:1");
    assert_eq!(judged(&spec, &outcomes, &[]).label(), "SKIP");
    let warned = judged(&spec, &outcomes, &[warning]);
    assert!(is_for_a_warning(&warned), "{warned:?}");
}

#[test]
fn a_missing_feature_is_a_skip_only_where_the_kernel_explains_it() {
    let spec = spec(Expectation::Isolation, Control::Runs);
    let set = KernelConfig::parse("CONFIG_TIME_NS=y\n");
    let unset = KernelConfig::parse("# CONFIG_TIME_NS is not set\n");
    let evidence = LegOutcome::Missing { evidence: "unshare(CLONE_NEWTIME): EINVAL".to_owned() };
    let judge = |config: Option<&KernelConfig>, version| {
        let facts = KernelFacts { version, config, ..facts() };
        finished(&job(&spec), facts, &legs(std::slice::from_ref(&evidence)), &SuiteResults::default(), None, &[])
    };
    let (new, old) = (KernelVersion::new(6, 1, 0), KernelVersion::new(5, 4, 0));
    let evidence = || "unshare(CLONE_NEWTIME): EINVAL".to_owned();
    let skipped = |reason| Verdict::Skipped { reason };
    let symbols = || vec!["CONFIG_TIME_NS".to_owned()];
    let since = KernelVersion::new(5, 6, 0);
    let not_set = SkipReason::ConfigNotSet { symbols: symbols(), evidence: evidence() };
    assert_eq!(judge(Some(&unset), new), skipped(not_set));
    let too_old = || SkipReason::KernelTooOld { since, version: old, evidence: evidence() };
    assert_eq!(judge(Some(&unset), old), skipped(too_old()));
    assert_eq!(judge(Some(&set), old), skipped(too_old()));
    let missing = Failure::FeatureMissing { symbols: symbols(), evidence: evidence() };
    assert_eq!(judge(Some(&set), new), Verdict::Failed { reason: missing });
    let unknown = |newer| skipped(SkipReason::ConfigUnknown { newer, evidence: evidence() });
    assert_eq!(judge(None, new), unknown(None));
    assert_eq!(judge(None, old), unknown(Some(since)));
}

#[test]
fn a_security_module_that_the_config_does_not_start_is_a_skip_and_one_that_it_starts_a_failure() {
    let judge_with = |append, list: &str| {
        let mut spec = spec(Expectation::Isolation, Control::Runs);
        spec.requires.config = vec!["CONFIG_SECURITY_YAMA".to_owned()];
        let config = KernelConfig::parse(&format!("CONFIG_SECURITY_YAMA=y\n{list}"));
        let facts = KernelFacts { config: Some(&config), append, ..facts() };
        let missing = legs(&[LegOutcome::Missing { evidence: "no file".to_owned() }]);
        let verdict = finished(&job(&spec), facts, &missing, &SuiteResults::default(), None, &[]);
        format!("{} {}", verdict.label(), verdict.detail())
    };
    let judge = |list| judge_with(None, list);
    let skipped = "SKIP needs CONFIG_LSM with yama (not set in this kernel): no file";
    assert_eq!(judge("CONFIG_LSM=\"landlock,lockdown\"\n"), skipped);
    assert_eq!(judge("CONFIG_LSM=\"\"\n"), skipped);
    assert!(judge("CONFIG_LSM=\"landlock,yama,bpf\"\n").starts_with("FAIL"));
    assert!(judge("").starts_with("FAIL"));
    let without = "CONFIG_LSM=\"landlock\"\n";
    assert!(judge_with(Some("lsm=landlock,yama"), without).starts_with("FAIL"));
    let off = judge_with(Some("lsm=landlock"), without);
    assert!(off.starts_with("SKIP") && off.contains("lsm=landlock"), "{off}");
}

#[test]
fn a_feature_that_the_command_line_switches_off_is_a_skip_that_names_the_parameter() {
    let set = KernelConfig::parse("CONFIG_TIME_NS=y\nCONFIG_MEMCG=y\n");
    let judge = |symbol: &str, append, outcome: &LegOutcome| {
        let mut spec = spec(Expectation::Isolation, Control::Runs);
        spec.requires.config = vec![symbol.to_owned()];
        let facts = KernelFacts { config: Some(&set), append: Some(append), ..facts() };
        finished(&job(&spec), facts, &legs(std::slice::from_ref(outcome)), &SuiteResults::default(), None, &[])
    };
    let evidence = || "seen".to_owned();
    let missing = LegOutcome::Missing { evidence: evidence() };
    let failed = LegOutcome::Failed { detail: evidence() };
    for (symbol, append, parameter, outcome) in [
        ("CONFIG_MEMCG", "nokaslr cgroup_disable=memory", "cgroup_disable=memory", &missing),
        ("CONFIG_MEMCG", "cgroup_disable=pids,memory", "cgroup_disable=pids,memory", &missing),
        ("CONFIG_MEMCG", "cgroup_disable=memory", "cgroup_disable=memory", &failed),
    ] {
        let (parameter, symbol) = (parameter.to_owned(), symbol.to_owned());
        let verdict = judge(&symbol, append, outcome);
        let reason = SkipReason::Disabled { parameter, symbol, evidence: evidence() };
        assert_eq!(verdict, Verdict::Skipped { reason }, "{append}");
    }
    // Other parameters explain nothing.
    for append in ["cgroup_disable=pids", "psi=0", "cgroup_no_v1=memory"] {
        assert_eq!(judge("CONFIG_MEMCG", append, &missing).label(), "FAIL", "{append}");
        assert_eq!(judge("CONFIG_TIME_NS", append, &failed).label(), "FAIL", "{append}");
    }
}

#[test]
fn a_leg_that_reached_a_limit_of_the_command_line_is_a_skip() {
    let append = Some("sysctl.user.max_user_namespaces=0 sysctl.user.max_pid_namespaces=500");
    let judge = |error: &str| {
        let failed = LegOutcome::Failed { detail: error.to_owned() };
        let facts = KernelFacts { append, ..facts() };
        let spec = spec(Expectation::Isolation, Control::Runs);
        finished(&job(&spec), facts, &legs(&[LegOutcome::Available, failed]), &SuiteResults::default(), None, &[])
    };
    let reached = judge("unshare(CLONE_NEWUSER): ENOSPC");
    assert_eq!(reached.label(), "SKIP");
    assert!(reached.detail().contains("sysctl.user.max_user_namespaces=0"), "{}", reached.detail());
    assert_eq!(judge("unshare(CLONE_NEWNS): ENOSPC").label(), "FAIL", "the other limits explain nothing");
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
    for (found, label, severity) in
        [(killed, "PASS", Severity::Note), (global, "FAIL", Severity::Warned), (broken, "FAIL", Severity::Broken)]
    {
        let mut warnings = [found];
        allow(&job(&spec), &mut warnings);
        assert_eq!(warnings[0].severity, severity, "{warnings:?}");
        assert_eq!(judged(&spec, &outcomes, &warnings).label(), label, "{warnings:?}");
    }
}

#[test]
fn a_suite_is_skipped_only_where_the_kernel_does_not_have_it() {
    let suite = || SuiteId::new("list-kunit-test").unwrap();
    let set = KernelConfig::parse("CONFIG_KUNIT=y\nCONFIG_KUNIT_DEBUGFS=y\n");
    let unset = KernelConfig::parse("CONFIG_KUNIT_DEBUGFS=y\n");
    let missing = legs(&[LegOutcome::Missing { evidence: "there is no file".to_owned() }]);
    let (none, one): (&[SuiteId], &[SuiteId]) = (&[], &[suite()]);
    let said = |config, suites, append| {
        let facts = KernelFacts { config: Some(config), suites, append, ..facts() };
        let verdict = finished(&JobSpec::Kunit(suite()), facts, &missing, &SuiteResults::default(), None, &[]);
        format!("{} {}", verdict.label(), verdict.detail())
    };
    assert_eq!(said(&unset, None, None), "SKIP needs CONFIG_KUNIT (not set in this kernel): there is no file");
    assert_eq!(said(&set, Some(none), None), "SKIP this kernel does not have the suite: there is no file");
    assert!(said(&set, Some(one), Some("kunit.enable=0")).starts_with("SKIP the command line has `kunit.enable=0`"));
    assert!(said(&set, Some(one), Some("kunit.autorun=0")).starts_with("FAIL this kernel's CONFIG_KUNIT"));
    assert!(said(&set, None, None).starts_with("FAIL"));
}

#[test]
fn a_kernel_that_warns_during_a_suite_that_passes_fails_it() {
    let suite = JobSpec::Kunit(SuiteId::new("a").unwrap());
    let legs = legs(&[LegOutcome::Available, LegOutcome::Reported]);
    let text = b"KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: a\n    1..1\n    ok 1 b\nok 1 a\n".to_vec();
    let results = SuiteResults::read(&SuiteId::new("a").unwrap(), &text, 0);
    let verdict = |warnings: &[Finding]| finished(&suite, facts(), &legs, &results, None, warnings);
    assert_eq!(verdict(&[]), Verdict::Passed);
    assert!(is_for_a_warning(&verdict(&[Finding::of_title(Kind::Warning, "WARNING: CPU: 0 at kernel/x.c:1")])));
}
