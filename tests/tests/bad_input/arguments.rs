//! Arguments that vmlab refuses.

use vmlab_events::exit;

use crate::{VMLAB, is_refused, lab};
use vmlab_tests::env::TestEnv;

#[test]
fn a_filter_that_matches_no_scenario_is_refused() {
    for filter in ["nothing.here", "=uts.host", "uts.hostname.more"] {
        let lab = lab();
        let ended = lab.env.run(&lab.arguments(&["uts", filter]));
        let words = [
            filter.trim_start_matches('='),
            "`vmlab list` shows them all",
            "areas: cgroup checkpoint cluster file ipc",
        ];
        is_refused(&lab.env, &ended, exit::NOTHING_RAN, &words);
        assert_eq!(lab.unclaimed(), [0]);
    }
}

#[test]
fn a_filter_that_can_match_no_name_is_refused() {
    for filter in ["uts*", "uts/hostname", "=", ""] {
        let lab = lab();
        let ended = lab.env.run(&lab.arguments(&[filter]));
        is_refused(&lab.env, &ended, exit::USAGE, &["cannot match any name: names consist of letters, digits"]);
    }
    // Only KUnit suites may have such names.
    for filter in ["UTS", "uts hostname"] {
        let lab = lab();
        let ended = lab.env.run(&lab.arguments(&[filter]));
        is_refused(&lab.env, &ended, exit::NOTHING_RAN, &[&format!("no scenario's name contains `{filter}`")]);
    }
}

#[test]
fn kunit_needs_a_kernel_whose_suites_are_known() {
    for filters in [&[][..], &["uts"], &["kunit.list"]] {
        let lab = lab();
        let ended = lab.env.run(&lab.arguments(&[&["--kunit"], filters].concat()));
        let words = ["--kunit: no KUnit suites are known in these kernels", "-k tree:PATH+kunit"];
        is_refused(&lab.env, &ended, exit::NOTHING_RAN, &words);
        assert_eq!(lab.unclaimed(), [0], "no guest was started");
    }
    let lab = lab();
    let ended = lab.env.run(&lab.arguments(&["kunit.list"]));
    is_refused(&lab.env, &ended, exit::NOTHING_RAN, &["KUnit suites run with `vmlab run --kunit`"]);
}

#[test]
fn kernel_parameters_that_hide_warnings_or_do_not_fit_are_refused() {
    let long = "x".repeat(2048);
    for (words, what) in [
        ("quiet", "--append has `quiet`, which can hide the kernel's warnings"),
        ("printk.time=off", "--append has `printk.time=off`"),
        ("nokaslr loglevel=3", "--append has `loglevel=3`"),
        (&long, "x86 kernels accept 2047"),
        ("a\nb", "a line break"),
    ] {
        let lab = lab();
        let ended = lab.env.run(&lab.arguments(&["uts", "--append", words]));
        is_refused(&lab.env, &ended, exit::USAGE, &[what]);
    }
}

#[test]
fn reports_that_cannot_be_written_are_refused() {
    for (report, words) in [
        ("xml", "`xml` is not a report format: choose human, ktap, junit or json"),
        ("junit=", "names no file: write `junit=FILE`"),
        ("ktap", "would both be written to standard output; give one of them a file of its own, as `ktap=FILE`"),
        ("ktap=/no/such/dir/x", "cannot write the ktap report to /no/such/dir/x: "),
        ("junit=/no/such/dir/x", "name a file in a directory that can be written"),
        ("junit=/", "name a file in a directory that can be written"),
    ] {
        let lab = lab();
        let ended = lab.env.run(&lab.arguments(&["uts", "--report", report]));
        is_refused(&lab.env, &ended, exit::USAGE, &[words]);
        assert_eq!(lab.unclaimed(), [0], "no guest is started for {report}");
    }
}

#[test]
fn reports_are_checked_before_kernels_are_fetched() {
    let env = TestEnv::new(VMLAB);
    let path = |name: &str| env.home().join(name).display().to_string();
    for (reports, words) in [
        ([format!("junit={}", path("a.xml")), format!("json={}", path("sub/../a.xml"))], "which is the same file as"),
        (
            ["human".to_owned(), "junit=/no/such/dir/x".to_owned()],
            "to /no/such/dir/x: No such file or directory (os error 2);",
        ),
    ] {
        std::fs::create_dir_all(path("sub")).unwrap();
        let arguments = ["run", "--offline", "-k", "debian:trixie", "-r", &reports[0], "-r", &reports[1]];
        is_refused(&env, &env.run(&arguments), exit::USAGE, &[words]);
        assert!(!env.home().join("a.xml").exists() && !env.state().exists() && !env.cache().exists());
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for (option, value) in [
        ("--memory", "0"),
        ("--memory", "15"),
        ("--memory", "4G"),
        ("--cpus", "0"),
        ("--cpus", "256"),
        ("--jobs", "0"),
        ("--timeout", "0"),
        ("--timeout", "1.5"),
        ("--boot-timeout", "-1"),
    ] {
        let lab = lab();
        let ended = lab.env.run(&lab.arguments(&["uts", &format!("{option}={value}")]));
        is_refused(&lab.env, &ended, exit::USAGE, &[value, option]);
    }
}

#[test]
fn malformed_kernel_names_are_refused() {
    for (name, words) in [
        ("", "a kernel's name is empty"),
        ("debian:", "is not a Debian suite's name"),
        ("debian:Trixie", "lower-case letters"),
        ("debian:../../etc", "is not a"),
        ("debian:trixie/../../x", "flavour"),
        ("debian:trixie/cloud-arm64", "is not a flavour for amd64"),
        ("debian:trixie-security", "use debian:trixie"),
        ("installed:../x", "is not a kernel release"),
    ] {
        let env = TestEnv::new(VMLAB);
        is_refused(&env, &env.run(&["run", "--kernel", name]), exit::USAGE, &[words]);
    }
}

#[test]
fn contradicting_and_unknown_options_are_refused() {
    for (arguments, words) in [
        (&["run", "--quiet", "--verbose"][..], "cannot be used with"),
        (&["run", "--isolation", "fork-bomb"], "[possible values: fork, shared, boot]"),
        (&["run", "--accel", "xen"], "[possible values: auto, kvm, tcg]"),
        (&["run", "--kernels", "x"], "unexpected argument '--kernels'"),
    ] {
        let env = TestEnv::new(VMLAB);
        let ended = env.run(arguments);
        ended.exits(exit::USAGE);
        assert!(ended.stderr.contains(words), "{ended}");
        assert_eq!(env.outliving(), []);
    }
}

#[test]
fn a_mistyped_command_gets_a_suggestion() {
    let env = TestEnv::new(VMLAB);
    let ended = env.run(&["reprot"]);
    ended.exits(exit::USAGE);
    assert!(ended.stderr.contains("'report'"), "the error names the command that was meant: {ended}");
    env.run(&["run", "--help"]).exits(exit::OK);
}
