//! A kernel that is built to order: small, with namespaces and KUnit, from the source of Debian's 6.12.

use std::time::Duration;

use vmlab_events::suite::Outcome;
use vmlab_protocol::job::Job;

use super::*;

const ORDER: &str = "source:trixie+namespaces+kunit";

/// The maximum size of the kernel's file, in bytes: `base` is for small kernels.
const SIZE: u64 = 4 << 20;

/// A build takes four minutes on two idle processors; tests and other builds may share them.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// An environment in whose cache the kernel is, and what the build printed.
fn built() -> (TestEnv, &'static str) {
    static PRINTED: OnceLock<String> = OnceLock::new();
    let env = env();
    let printed = PRINTED.get_or_init(|| {
        let built = env.start(&["kernel", "build", ORDER]).wait_within(LIMIT);
        built.exits(exit::OK).stdout.clone()
    });
    (env, printed)
}

#[test]
fn a_small_kernel_is_built_once_and_passes_the_whole_catalogue() {
    let (env, built) = built();
    let path = built.split_whitespace().last().unwrap();
    assert!(fs::metadata(path).unwrap().len() <= SIZE, "{built}");
    let again = env.run(&["kernel", "build", ORDER]);
    again.exits(exit::OK);
    assert_eq!(again.stdout, built);
    assert!(!again.stderr.contains("compiling"), "{}", again.stderr);
    let outcome = run(&env, &["--isolation", "shared", "--kernel", ORDER]);
    outcome.exits(exit::OK);
    for report in outcome.reports() {
        let (label, detail) = (report.verdict.label(), report.verdict.detail());
        let explained = detail.contains("needs CONFIG_") || detail.contains("needs Linux");
        assert!(matches!(label, "PASS" | "LEAK") || label == "SKIP" && explained, "{report:?}");
    }
    let ran = outcome.reports().filter(|report| report.verdict.label() != "SKIP").count();
    assert!(ran > guest_init::catalogue().unwrap().len() / 2, "most of it runs: {}", outcome.ended);
}

#[test]
fn each_suite_of_the_kernel_is_a_job_with_a_result_for_each_test() {
    let (env, _) = built();
    let outcome = run(&env, &["--kunit", "kunit.", "=uts.hostname", "--isolation", "shared", "--kernel", ORDER]);
    outcome.exits(exit::OK);
    let suites: Vec<_> = outcome.reports().filter(|report| matches!(report.job, Job::Kunit(_))).collect();
    // So many suites are in the fragment and in KUnit's own tests.
    assert!(suites.len() >= 30 && outcome.reports().count() == suites.len() + 1, "{}", outcome.ended);
    let results = |name: &str| -> Vec<_> {
        let report = suites.iter().find(|report| report.job.name() == name).unwrap();
        report.tests.iter().map(|test| (test.name.as_str(), test.result)).collect()
    };
    let example = results("kunit.example");
    for expected in [
        ("example_simple_test", Outcome::Passed),
        ("example_skip_test", Outcome::Skipped),
        ("example_params_test/example value 2", Outcome::Passed),
        ("example_params_test/example value 0", Outcome::Skipped),
    ] {
        assert!(example.contains(&expected), "{example:?}");
    }
    assert!(results("kunit.list-kunit-test").len() > 30);
    // A test of KUnit's own that warns on purpose.
    let platform = suites.iter().find(|report| report.job.name() == "kunit.kunit_platform_device").unwrap();
    assert_eq!((platform.verdict.label(), platform.warnings.len()), ("PASS", 1), "{platform:?}");
}

#[test]
fn a_built_kernel_is_listed_and_its_suites_are_known_before_a_run() {
    let (env, _) = built();
    let listed = env.run(&["kernel", "list"]);
    let row = listed.exits(exit::OK).stdout.lines().find(|line| line.starts_with(ORDER)).unwrap();
    assert!(row.contains(" built ") && row.contains(" 6.12."), "{row}");
    let shown = env.run(&["run", "--dry-run", "--offline", "--kunit", "kunit.list", "=uts.hostname", "-k", ORDER]);
    let shown = &shown.exits(exit::OK).stdout;
    assert!(shown.contains("\n  kunit.list-kunit-test\n  uts.hostname\n"), "{shown}");
    assert!(shown.contains("1 scenario and 1 KUnit suite"), "{shown}");
    let text = env.run(&["kernel", "fragments", "kunit"]);
    assert!(text.exits(exit::OK).stdout.contains("\nCONFIG_KUNIT=y\n"));
}

#[test]
fn a_config_that_vmlab_cannot_boot_is_refused_before_the_build() {
    let env = env();
    let ended = env.run(&["kernel", "build", &format!("{ORDER}+CONFIG_VIRTIO_PCI=n")]);
    ended.exits(exit::USAGE);
    assert!(ended.stderr.contains("the kernel has CONFIG_VIRTIO_PCI not set"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("compiling"), "{}", ended.stderr);
    // A typing error does not leave the kernel as it is.
    let ended = env.run(&["kernel", "config", &format!("{ORDER}+CONFIG_NAMESPACE=n")]);
    ended.exits(exit::USAGE);
    assert!(ended.stderr.contains("no such symbol; the nearest is CONFIG_NAMESPACES"), "{}", ended.stderr);
}

#[test]
fn a_symbol_that_cannot_be_had_is_explained_by_the_trees_kconfig() {
    let env = env();
    let ended = env.run(&["kernel", "config", &format!("{ORDER}+CONFIG_USERNS=y+CONFIG_SND=y")]);
    ended.exits(exit::USAGE);
    for line in [
        "CONFIG_SND=y was asked for by +CONFIG_SND=y; it is not set, because it depends on CONFIG_SOUND, which is n",
        "CONFIG_USERNS=y was asked for by +CONFIG_USERNS=y; it is not set, because this kernel has no such symbol; the nearest",
    ] {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
}
