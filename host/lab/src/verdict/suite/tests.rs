use super::*;

/// The results of a suite of three tests, one of which has parameters, as 6.12 prints them; with these lines for its last
/// test and for the suite.
fn results(last: &str, suite: &str) -> String {
    [
        "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: example\n    1..3\n    ok 1 first\n",
        "        KTAP version 1\n        # Subtest: parameters\n        ok 1 one\n        ok 2 two # SKIP not here\n",
        "    # parameters: pass:1 fail:0 skip:1 total:2\n    ok 2 parameters\n",
        last,
        "# example: pass:3 fail:0 skip:0 total:3\n",
        suite,
        "\n",
    ]
    .concat()
}

fn good() -> String {
    results("    ok 3 last\n", "ok 1 example")
}

fn bad() -> String {
    let failed = "    # last: EXPECTATION FAILED at lib/kunit/example.c:7\n    not ok 3 last\n";
    results(failed, "not ok 1 example")
}

/// A suite that was not run: debugfs has a result for it all the same.
fn not_run() -> String {
    "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: example\n    1..3\nok 1 example\n".to_owned()
}

fn read(output: &str) -> SuiteResults {
    SuiteResults::read(&SuiteId::new("example").unwrap(), output.as_bytes(), 0)
}

fn said(output: &str) -> String {
    let verdict = read(output).verdict();
    format!("{} {}", verdict.label(), verdict.detail())
}

#[test]
fn each_test_and_each_parameter_has_a_result() {
    let tests = read(&good()).tests;
    let seen: Vec<_> = tests.iter().map(|test| (test.name.as_str(), test.label())).collect();
    assert_eq!(seen, [("first", "PASS"), ("parameters/one", "PASS"), ("parameters/two", "SKIP"), ("last", "PASS")]);
    assert_eq!(tests[2].detail, ["not here"]);
    let tests = read(&bad()).tests;
    assert_eq!(tests[3].result, Outcome::Failed);
    assert_eq!(tests[3].detail, ["last: EXPECTATION FAILED at lib/kunit/example.c:7"]);
}

#[test]
fn a_suite_passes_if_its_results_are_whole_and_nothing_failed() {
    assert_eq!(said(&good()), "PASS ");
    assert_eq!(said(&bad()), "FAIL 1 of 4 tests failed: last");
}

#[test]
fn results_that_do_not_say_how_each_test_ended_are_no_pass() {
    let no_result = "FAIL the results do not say how each test ended: ";
    for (run, problem) in [
        (not_run(), "line 6: example has 0 of 3 tests"),
        (results("", "ok 1 example"), "line 14: example has 2 of 3 tests"),
        (String::new(), "line 2: there are 0 of 1 tests"),
        (good().replace("example", "other"), "they are of the suite `other`"),
        ("KTAP version 1\n1..1\nok 1 example\n".to_owned(), "they have no tests"),
        (results("    ok 3 last\n", "not ok 1 example"), "the suite failed, and none of its tests did"),
        (good()[..120].to_owned(), "line 8: there is no plan"),
        (results("    ok 3 last\n    ok 3 last\n", "ok 1 example"), "line 14: test 3 comes twice"),
    ] {
        let said = said(&run);
        assert!(said.starts_with(&format!("{no_result}{problem}")), "{said}\n{run}");
    }
    let cut = SuiteResults::read(&SuiteId::new("example").unwrap(), good().as_bytes(), 7).verdict();
    assert!(cut.detail().ends_with("7 bytes of them are beyond the limit of output"), "{}", cut.detail());
}

#[test]
fn a_suite_that_skips_itself_is_a_skip() {
    let whole = "KTAP version 1\n1..1\nok 1 example # SKIP no timer\n";
    assert_eq!(said(whole), "SKIP each test skipped itself: no timer");
    let head = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: example\n";
    let each = format!("{head}    1..2\n    ok 1 a # SKIP not here\n    ok 2 b # SKIP\nok 1 example\n");
    assert_eq!(said(&each), "SKIP each test skipped itself: not here");
}

#[test]
fn the_results_of_old_kernels_have_no_outermost_level() {
    // 5.10: lib/kunit/debugfs.c
    let tests = "    ok 1 - a\n    # b: EXPECTATION FAILED at x.c:1\n    not ok 2 - b\n";
    let old = format!("    # Subtest: example\n    1..2\n{tests}not ok 1 - example\n");
    assert_eq!(said(&old), "FAIL 1 of 2 tests failed: b");
    assert_eq!(said(&old.replace("not ok", "ok")), "PASS ");
}

#[test]
fn a_test_that_fails_without_a_failed_parameter_is_named() {
    let run = good().replace("    ok 2 parameters", "    not ok 2 parameters");
    let run = run.replace("\nok 1 example", "\nnot ok 1 example");
    assert_eq!(said(&run), "FAIL 1 of 5 tests failed: parameters");
}

#[test]
fn a_suite_without_tests_is_a_skip() {
    // kunit_fault without CONFIG_KUNIT_FAULT_TEST.
    let none = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: example\n    1..0\nok 1 example\n";
    assert_eq!(said(none), "SKIP the suite has no tests in this kernel");
}
