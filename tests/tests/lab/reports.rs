//! Reports and records: all reports of a run agree, and a record renders to the same bytes.

use std::fs;

use roxmltree::Document;
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_tests::UTS;
use vmlab_tests::fake::script::{Action, Guest, console, finished, hello, legs, started};
use vmlab_tests::lab::FakeLab;
use vmlab_tests::outcome::{Outcome, record_dir};
use vmlab_tests::reports::{check_junit, check_ktap, is_harmless};

use crate::{HOSTNAME, ONLY_HOSTNAME, booted_then_good, isolated, lab, passing};

const FORMATS: [&str; 4] = ["human", "ktap", "junit", "json"];

/// A run on two kernels, with a pass, a failure of the control, a crash and a leak, and with every report in a file.
fn eventful() -> (FakeLab, Outcome) {
    let mut vacuous = passing();
    vacuous[2].1 = isolated();
    let mut actions = legs(1, "time.realtime", &[]);
    actions.extend([console("[ 1.0] Kernel panic - not syncing: \x1b[31mred\n"), Action::Exit(0)]);
    let crashes = Guest::new([vec![hello()], actions].concat()).on("crashes");
    let mut actions = vec![Action::Serve(1), Action::AwaitRun(HOSTNAME.to_owned()), started(2, HOSTNAME)];
    actions.extend(vacuous.iter().map(|(leg, outcome)| vmlab_tests::fake::script::leg(2, *leg, outcome.clone())));
    actions.push(finished(2));
    let vacuous = booted_then_good(actions).on("vacuous");
    let lab = lab(vec![crashes, vacuous, Guest::good().on("crashes")]).kernels(&["crashes", "vacuous"]);
    let mut words = vec!["=time.realtime".to_owned(), ONLY_HOSTNAME.to_owned()];
    for format in ["ktap", "junit"] {
        words.extend(["--report".to_owned(), format!("{format}={}", lab.file(format).display())]);
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let outcome = lab.run(&words);
    outcome.exits(exit::CRASHED);
    (lab, outcome)
}

#[test]
fn all_reports_of_a_run_agree() {
    let (lab, outcome) = eventful();
    let labels = outcome.labels();
    let label = |kernel: &str, scenario: &str| labels[&(kernel.to_owned(), scenario.to_owned())];
    assert_eq!(["time.realtime", HOSTNAME].map(|name| label("crashes", name)), ["CRASH", "PASS"]);
    assert_eq!(["time.realtime", HOSTNAME].map(|name| label("vacuous", name)), ["LEAK", "VACUOUS"]);

    let table: Vec<_> = outcome.ended.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert!(table.contains(&vec!["time.realtime", "CRASH", "LEAK"]), "{}", outcome.ended);
    assert!(table.contains(&vec![HOSTNAME, "PASS", "VACUOUS"]), "{}", outcome.ended);

    let text = fs::read_to_string(lab.file("junit")).unwrap();
    let junit = Document::parse(&text).unwrap();
    let case = |kernel: &str, scenario: &str| {
        let suites = junit.descendants().filter(|node| node.has_tag_name("testsuite"));
        let suite = suites.into_iter().find(|node| node.attribute("name").unwrap().ends_with(kernel)).unwrap();
        let case = suite.children().find(|node| node.attribute("name") == Some(scenario)).unwrap();
        let bad = case.children().find(|node| node.has_tag_name("failure") || node.has_tag_name("error"));
        bad.map(|node| (node.tag_name().name().to_owned(), node.attribute("type").unwrap().to_owned()))
    };
    let kind = |element: &str, kind: &str| Some((element.to_owned(), kind.to_owned()));
    assert_eq!(case("crashes", "time.realtime"), kind("error", "CRASH"));
    assert_eq!(case("vacuous", HOSTNAME), kind("failure", "VACUOUS"));
    assert_eq!((case("crashes", HOSTNAME), case("vacuous", "time.realtime")), (None, None));

    let ktap = fs::read_to_string(lab.file("ktap")).unwrap();
    check_ktap(&ktap, &outcome.events);
    check_junit(&text, &outcome.events);
    is_harmless(&outcome.ended.stdout);
}

#[test]
fn a_report_of_a_record_has_the_bytes_of_the_live_report() {
    let (lab, outcome) = eventful();
    for (format, live) in FORMATS.iter().zip([
        outcome.ended.stdout.clone(),
        fs::read_to_string(lab.file("ktap")).unwrap(),
        fs::read_to_string(lab.file("junit")).unwrap(),
        fs::read_to_string(lab.file("events.jsonl")).unwrap(),
    ]) {
        let again = lab.env.run(&["report", "latest", "--format", format]);
        again.exits(exit::OK);
        assert_eq!(again.stdout, live, "{format}");
    }
    // `vmlab report` accepts the JSON report in place of the record.
    let events = lab.file("events.jsonl");
    let from_json = lab.env.run(&["report", events.to_str().unwrap(), "--format", "junit"]);
    assert_eq!(from_json.stdout, fs::read_to_string(lab.file("junit")).unwrap());
}

#[test]
fn the_record_has_the_exact_bytes_of_the_console() {
    let every_byte: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let actions = [Action::Console(every_byte.clone()), hello(), Action::ServeRest];
    let lab = lab(vec![Guest::new(actions.to_vec())]);
    lab.run(&[ONLY_HOSTNAME]).exits(exit::OK);
    let kept = fs::read(record_dir(&lab.env).unwrap().join("console-1.log")).unwrap();
    // The rest of the console is the guest's end.
    assert!(kept.starts_with(&every_byte), "{} bytes were kept of {}", kept.len(), every_byte.len());
}

#[test]
fn no_record_writes_no_file() {
    let lab = lab(vec![Guest::good()]);
    lab.run(&[ONLY_HOSTNAME, "--no-record"]).exits(exit::OK);
    assert_eq!(record_dir(&lab.env), None);
    assert!(!lab.env.state().join("vmlab").exists());
}

#[test]
fn quiet_and_verbose_change_the_text_but_no_verdict() {
    for option in ["--quiet", "--verbose"] {
        let outcome = lab(vec![Guest::good()]).run(&[UTS[0], UTS[1], UTS[2], option]);
        outcome.exits(exit::OK);
        assert_eq!(outcome.ended.stdout.contains("as documented"), option == "--verbose", "{}", outcome.ended);
        assert!(outcome.ended.stdout.contains("3 passed"), "{}", outcome.ended);
    }
}

#[test]
fn timings_are_a_table_of_the_human_report_live_and_of_the_record() {
    let lab = lab(vec![Guest::good()]);
    let outcome = lab.run(&[ONLY_HOSTNAME, "--isolation", "shared", "--timings"]);
    outcome.exits(exit::OK);
    let rows: Vec<_> = outcome.ended.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let phases = ["boot", "spawn", "qemu", "boot", "prepare", "start", "scenario", "probe", "subject", "control"];
    assert!(rows.windows(phases.len()).any(|window| window == phases), "{}", outcome.ended);
    let again = lab.env.run(&["report", "latest", "--timings"]);
    assert_eq!(again.stdout, outcome.ended.stdout);
    assert!(!lab.env.run(&["report", "latest"]).stdout.contains("timings in ms"));
    // Without a human report, --timings is an error.
    lab.env.run(&["report", "latest", "--timings", "--format", "junit"]).exits(exit::USAGE);
    lab.env.run(&["run", "--timings", "--report", "json"]).exits(exit::USAGE);
}

#[test]
fn two_kernels_and_two_runs_are_compared() {
    let (lab, outcome) = eventful();
    let LabEvent::RunStarted { targets, .. } = &outcome.events[0].event else { panic!("{:?}", outcome.events[0]) };
    let [crashes, vacuous] = [0, 1].map(|number: usize| targets[number].as_str());
    let kernels = lab.env.run(&["diff", "--kernel", crashes, "--kernel", vacuous]);
    kernels.exits(exit::FAILED);
    let lines: Vec<_> = kernels.stdout.lines().map(str::trim).collect();
    assert!(lines.iter().any(|line| line.starts_with(&format!("{HOSTNAME}  PASS -> VACUOUS"))), "{kernels}");
    assert!(lines.iter().any(|line| line.starts_with("time.realtime  CRASH -> LEAK")), "{kernels}");
    assert!(lines.contains(&"2 jobs compared: 1 broken, 1 fixed, 1 gone from the kernel's console"), "{kernels}");
    is_harmless(&kernels.stdout);

    let events = lab.file("events.jsonl");
    let same = lab.env.run(&["diff", events.to_str().unwrap(), "latest"]);
    same.exits(exit::OK);
    assert_eq!(same.stdout.matches("2 jobs compared: no difference").count(), 2, "{same}");

    let file = lab.file("diff.json");
    let arguments = ["diff", "-k", vacuous, "-k", crashes, "--format", "json", "-o", file.to_str().unwrap()];
    let json = lab.env.run(&arguments);
    json.exits(exit::FAILED);
    let object: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!((&object["regression"], &object["pairs"][0]["compared"]), (&true.into(), &2.into()));
    assert_eq!(json.stdout, "");

    lab.env.run(&["diff"]).exits(exit::USAGE);
}
