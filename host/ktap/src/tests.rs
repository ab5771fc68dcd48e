use super::*;

/// One line for each test: number, name, outcome and data, indented by level.
fn tree(block: &Block) -> String {
    fn add(block: &Block, depth: usize, out: &mut String) {
        for test in &block.tests {
            let (number, name, outcome) = (test.number, &test.name, test.outcome());
            let data = if test.data.is_empty() { String::new() } else { format!(" ({})", test.data) };
            out.push_str(&format!("{}{number} {name}: {outcome:?}{data}\n", "  ".repeat(depth)));
            test.subtests.iter().for_each(|below| add(below, depth + 1, out));
        }
    }
    let mut out = String::new();
    add(block, 0, &mut out);
    out
}

fn sound(log: &str) -> Document {
    let document = read(log.as_bytes());
    assert!(document.is_sound(), "{:?}", document.problems);
    document
}

fn faults(log: &str) -> Vec<String> {
    read(log.as_bytes()).problems.iter().map(Problem::to_string).collect()
}

#[test]
fn the_example_of_ktap_rst_is_read() {
    let log = "KTAP version 1\n1..2\n  KTAP version 1\n  1..3\n    KTAP version 1\n    1..1\n    # test_1: initializing\n    \
        ok 1 test_1\n  ok 1 one\n    KTAP version 1\n    1..2\n    ok 1 test_1 # SKIP why not\n    ok 2 test_2\n  \
        ok 2 two\n  not ok 3 three # TIMEOUT 30 seconds\nnot ok 1 main\nok 2 check return code # rcode=0\n# the end\n";
    let document = sound(log);
    insta::assert_snapshot!(tree(&document.block), @r"
    1 main: Failed
      1 one: Passed
        1 test_1: Passed
      2 two: Passed
        1 test_1: Skipped (why not)
        2 test_2: Passed
      3 three: TimedOut (30 seconds)
    2 check return code: Passed (rcode=0)
    ");
    let below = document.block.tests[0].subtests.as_ref().unwrap().tests[0].subtests.as_ref().unwrap();
    assert_eq!(below.tests[0].diagnostics, ["test_1: initializing"]);
    assert_eq!(document.block.diagnostics, ["the end"]);
    assert_eq!(document.block.flavour, Some(Flavour::Ktap(1)));
}

#[test]
fn kernel_log_lines_around_the_results_are_ignored() {
    let log = "[    0.000000] Linux version 6.1.0\n[    0.1] 1..7\n<6>[    0.060000][    T1] TAP version 14\n\
        <6>[    0.060001][    T1] 1..1\n[    0.060002] \t# Subtest: example\r\n[    0.060003] \t1..2\r\n\
        [    0.5] random: crng init done\n[    0.060004] \tok 1 - a\n\x1b[31m\u{fffd}\n    in the middle\n\
        [    0.060005] \tnot ok 2 - b # XFAIL known\n[    0.060006] ok 1 - example\n[    0.9] reboot: System halted\n";
    let document = sound(log);
    insta::assert_snapshot!(tree(&document.block), @r"
    1 example: Passed
      1 a: Passed
      2 b: ExpectedFailure (known)
    ");
    assert_eq!(document.block.tests[0].subtests.as_ref().unwrap().name.as_deref(), Some("example"));
    assert_eq!(document.unknown_lines, 4);
}

#[test]
fn the_text_of_a_failed_expectation_is_kept_in_its_order() {
    let log = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: example\n    1..2\n    ok 1 a\n    \
        # b: EXPECTATION FAILED at lib/x.c:30\n    Expected 1 + 1 == 3, but\n        1 + 1 == 2 (0x2)\n    # b: cleaning up\n    \
        not ok 2 b\nnot ok 1 example\n";
    let document = sound(log);
    let tests = &document.block.tests[0].subtests.as_ref().unwrap().tests;
    assert!(tests[0].diagnostics.is_empty());
    let text =
        ["b: EXPECTATION FAILED at lib/x.c:30", "Expected 1 + 1 == 3, but", "1 + 1 == 2 (0x2)", "b: cleaning up"];
    assert_eq!(tests[1].diagnostics, text);
}

#[test]
fn tap_13_and_14_are_read_with_their_own_rules() {
    let log = "TAP version 14\n# Subtest: foo\n    1..2\n    ok\n    ok - a \\# b \\\\\n      ---\n      ok 7 forged\n      \
        ...\nok 1 - foo\nnot ok 2 # todo later\npragma +strict\nok 3 - c # Skipped: no time\n1..3\n";
    let document = sound(log);
    insta::assert_snapshot!(tree(&document.block), @r"
    1 foo: Passed
      1 : Passed
      2 a # b \: Passed
    2 : ExpectedFailure (later)
    3 c: Skipped (no time)
    ");
    assert_eq!(document.block.tests[0].subtests.as_ref().unwrap().name.as_deref(), Some("foo"));
    let skipped = sound("TAP version 13\n1..0 # SKIP no such feature\n");
    assert_eq!(skipped.block.skipped.as_deref(), Some("no such feature"));
    // KTAP has no such directives: the text is data.
    let data = sound("KTAP version 1\n1..2\nok 1 a # skip is a word\nnot ok 2 C# # error\n");
    insta::assert_snapshot!(tree(&data.block), @r"
    1 a: Passed (skip is a word)
    2 C#: Failed (error)
    ");
}

#[test]
fn missing_parts_are_problems() {
    assert_eq!(faults("no tests at all\nok 1\n"), ["line 2: there is no version line, as `KTAP version 1`"]);
    assert_eq!(faults("KTAP version 1\n1..3\nok 1 a\n"), ["line 3: there are 1 of 3 tests"]);
    assert_eq!(faults("KTAP version 1\nok 1 a"), ["line 2: there is no plan"]);
    assert_eq!(faults("KTAP version 1\n1..1\nok a\n"), ["line 3: a result without a number"]);
    let cut = "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: kernel\n  1..2\n  ok 1 a\n";
    assert_eq!(faults(cut), ["line 6: kernel has 1 of 2 tests", "line 6: subtests without the result of their test"]);
    let document = read(cut.as_bytes());
    assert_eq!(document.block.tests[0].outcome(), Outcome::Failed, "absence is no pass");
}

#[test]
fn contradictions_are_problems() {
    let numbers = "KTAP version 1\n1..4\nok 1 a\nok 1 b\nok 4 c\nok 2 d\n";
    let of_numbers = [
        "line 4: test 1 comes twice",
        "line 5: test 4 comes where test 2 was due",
        "line 6: test 2 comes where test 5 was due",
    ];
    assert_eq!(faults(numbers), of_numbers);
    assert_eq!(faults("KTAP version 1\n1..1\nok 1\nok 2\n"), ["line 4: there are 2 tests, 1 were announced"]);
    assert_eq!(faults("KTAP version 1\n1..1\n1..2\nok 1\n"), ["line 3: a second plan"]);
    assert_eq!(faults("KTAP version 3\n1..0\n"), ["line 1: the version is not known: KTAP version 3"]);
    assert_eq!(faults("KTAP version 1\n1..1\nKTAP version 1\nok 1\n"), ["line 3: a second version line"]);
    assert_eq!(
        faults("KTAP version 1\n1..99999999999999999999\n"),
        ["line 2: a number that is too large", "line 2: there is no plan"]
    );
    let lie = "KTAP version 1\n1..1\n  1..1\n  not ok 1 a # ERROR x\nok 1 b\n";
    assert_eq!(faults(lie), ["line 5: test 1 is ok and has a subtest that is not"]);
    assert_eq!(faults("TAP version 13\n1..1\nok 1\n  ---\nok 2\n"), ["line 4: a block of YAML does not end"]);
}

#[test]
fn no_result_after_a_bail_out_counts() {
    let document = read(b"TAP version 13\n1..2\nok 1\nBail out! the disk is on fire\nok 2\n");
    assert_eq!(document.bail_out.as_deref(), Some("the disk is on fire"));
    assert_eq!(document.block.tests.len(), 1);
    assert_eq!(document.problems.len(), 1, "test 2 is missing");
    assert!(!document.is_sound());
}

#[test]
fn a_timeout_is_no_pass_even_if_the_line_says_ok() {
    let outcome = |line: &str| sound(&format!("KTAP version 1\n1..1\n{line}\n")).block.tests[0].outcome();
    assert_eq!(outcome("ok 1 a # TIMEOUT 1 s"), Outcome::TimedOut);
    assert_eq!(outcome("ok 1 a # ERROR x"), Outcome::Error);
    assert_eq!(outcome("not ok 1 a # SKIP x"), Outcome::Skipped);
    assert_eq!(outcome("ok 1 a # XFAIL x"), Outcome::Passed);
}

#[test]
fn the_memory_in_use_is_bounded() {
    let deep: String = (0..MAX_DEPTH + 5).map(|depth| format!("{}KTAP version 1\n", " ".repeat(depth))).collect();
    assert!(faults(&deep).iter().any(|fault| fault.ends_with("more than 32 levels")));

    let long = format!("KTAP version 1\n1..1\nok 1 {}\n", "x".repeat(MAX_LINE));
    assert_eq!(faults(&long), [format!("line 3: a line of more than {MAX_LINE} bytes")]);

    let document = read("KTAP version 1\n1..0\n".repeat(MAX_PROBLEMS).as_bytes());
    assert_eq!((document.problems.len(), document.more_problems), (MAX_PROBLEMS, MAX_PROBLEMS as u64 - 2));

    let mut reader = Reader::default();
    reader.push(b"KTAP version 1\n1..0\n");
    let line = format!("# {}\n", "x".repeat(MAX_LINE - 2));
    (0..MAX_TEXT / MAX_LINE + 10).for_each(|_| reader.push(line.as_bytes()));
    let document = reader.finish();
    assert_eq!(document.problems.iter().map(|problem| &problem.what).collect::<Vec<_>>(), [&Fault::TooMuchText]);
    assert!(document.block.diagnostics.iter().map(String::len).sum::<usize>() <= MAX_TEXT);
}
