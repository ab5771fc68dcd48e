//! Tests of `vmlab report` on records of the fixture.

use std::fs;
use std::time::{Duration, SystemTime};

use clap::Parser;
use tempfile::TempDir;

use super::*;
use vmlab_events::fixture;
use vmlab_report::FORMATS;
use vmlab_store::dirs::Dirs;
use vmlab_store::record::RunRecord;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: ReportArgs,
}

fn context(home: &TempDir) -> Context {
    Context { dirs: Dirs { cache: home.path().join("cache"), state: home.path().join("state") } }
}

fn vmlab_report(context: &Context, args: &[&str]) -> Result<u8, Failure> {
    let args = Command::try_parse_from([&["report"], args].concat()).unwrap().args;
    report(&args, context)
}

/// Plays the fixture into a record and into one report of each format, `live.FORMAT` in the home directory.
fn run(context: &Context, home: &TempDir) -> RunRecord {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_345_323);
    let mut record = RunRecord::create(&context.dirs, now).unwrap();
    let specs = FORMATS.map(|row| {
        let format = row.name.parse().unwrap();
        ReportSpec { format, destination: Destination::File(home.path().join(format!("live.{format}"))) }
    });
    let setup = Setup { record: Some(record.dir.clone()), ..Setup::default() };
    let mut reporters = Reporters::open(&specs, &setup).unwrap();
    for event in fixture::run() {
        record.append(&event).unwrap();
        reporters.event(&event);
    }
    reporters.finish().unwrap();
    record
}

#[test]
fn every_format_is_the_same_again_to_the_byte() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    let id = run(&context, &home).id;
    for format in FORMATS.map(|row| row.name.parse::<Format>().unwrap()) {
        for name in ["latest", id.as_str()] {
            let again = home.path().join("again");
            let args = [name, "--format", format.name(), "--output", again.to_str().unwrap()];
            assert_eq!(vmlab_report(&context, &args).unwrap(), exit::OK);
            let live = fs::read(home.path().join(format!("live.{format}"))).unwrap();
            assert!(live.len() > 1000, "{format}");
            assert_eq!(fs::read(&again).unwrap(), live, "{format}");
        }
    }
}

#[test]
fn a_json_report_is_as_good_as_the_record() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    run(&context, &home);
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    vmlab_report(&context, &[&path("live.json"), "--format", "junit", "-o", &path("again")]).unwrap();
    assert_eq!(fs::read(path("again")).unwrap(), fs::read(path("live.junit")).unwrap());
}

#[test]
fn exit_codes_tell_whether_it_could_be_rendered() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    let code = |args: &[&str]| vmlab_report(&context, args).unwrap_err().code;
    assert_eq!(code(&[]), exit::USAGE);
    assert_eq!(code(&["--list"]), exit::USAGE);
    let record = run(&context, &home);
    assert_eq!(code(&["1999"]), exit::USAGE);
    assert_eq!(code(&["./no/such/place"]), exit::USAGE);
    assert_eq!(code(&[home.path().to_str().unwrap()]), exit::USAGE);
    assert_eq!(code(&["-o", "/proc/none/x"]), exit::USAGE);
    assert_eq!(code(&["-o", "/dev/full"]), exit::LAB);
    let path = record.dir.join(record::EVENTS);
    let events = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = events.lines().collect();
    let mut backwards = lines.clone();
    backwards.reverse();
    for damaged in
        [vec!["xx", "yy"], [lines.clone(), lines.clone()].concat(), backwards, [&lines[..12], &lines[20..]].concat()]
    {
        fs::write(&path, damaged.join("\n")).unwrap();
        assert_eq!(code(&[]), exit::LAB, "{damaged:?}");
    }
    fs::write(&path, &events[..events.len() / 2]).unwrap();
    assert_eq!(vmlab_report(&context, &["-o", "/dev/null"]).unwrap(), exit::OK);
}

#[test]
fn a_run_that_was_cut_off_says_so_in_every_format() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    let record = run(&context, &home);
    let path = record.dir.join(record::EVENTS);
    let events = fs::read_to_string(&path).unwrap();
    // Every scenario has its final verdict, and the end of the run is missing.
    let (rest, last) = events.trim_end().rsplit_once('\n').unwrap();
    assert!(last.contains("run_finished"), "{last}");
    fs::write(&path, format!("{rest}\n")).unwrap();
    drop(record);
    for format in FORMATS.map(|row| row.name.parse::<Format>().unwrap()) {
        let again = home.path().join("again");
        let args = ["--format", format.name(), "--output", again.to_str().unwrap()];
        assert_eq!(vmlab_report(&context, &args).unwrap(), exit::OK);
        let text = fs::read_to_string(&again).unwrap();
        assert!(text.contains("the run was cut off: vmlab ended"), "{format}: {text}");
    }
}

#[test]
fn a_record_that_cannot_be_read_hides_no_other() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    let record = run(&context, &home);
    let bad = record::runs_dir(&context.dirs).join("20261122-110203-0000");
    fs::create_dir_all(bad.join(record::EVENTS)).unwrap();
    let listed = record::list(&context.dirs).unwrap();
    assert_eq!(listed.len(), 2);
    let of = |id: &str| listed.iter().find(|run| run.id == id).unwrap();
    assert!(of(&record.id).state.is_ok());
    assert!(of("20261122-110203-0000").state.is_err());
    let path = record.dir.join(record::EVENTS);
    let whole = fs::read_to_string(&path).unwrap();
    for (events, damaged) in [
        ("", false),
        (&whole[..whole.len() / 2], false),
        ("rubbish\n", true),
        (&whole.replace("run_started", "xx"), true),
        (&format!("{whole}rubbish\n"), true),
    ] {
        fs::write(&path, events).unwrap();
        let listed = record::list(&context.dirs).unwrap();
        let state = &listed.iter().find(|run| run.id == record.id).unwrap().state;
        assert_eq!(state.is_err(), damaged, "{state:?}");
    }
}

#[test]
fn the_list_is_a_table() {
    let listed = |id: &str, kernels: &[&str], state| Listed {
        id: id.to_owned(),
        dir: PathBuf::new(),
        targets: kernels.iter().map(|label| TargetId::new(*label)).collect(),
        jobs: Vec::new(),
        state,
    };
    let finished = RunState::Finished { counts: fixture::counts(), exit_code: 3 };
    insta::assert_snapshot!(table(&[
        listed("20261122-110204-0001", &["debian:trixie"], Ok(RunState::Running)),
        listed("20261122-110203-4f2a", &["debian:bookworm", "debian:\x1btrixie"], Ok(finished)),
        listed("20261121-000000-00ff", &[], Ok(RunState::CutOff)),
        listed("20261120-000000-00fe", &[], Err("it is a directory".to_owned())),
    ]));
}

#[test]
fn timings_are_rendered_from_the_record_and_only_for_people() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    run(&context, &home);
    let again = home.path().join("again");
    let to = ["--timings", "-o", again.to_str().unwrap()];
    assert_eq!(vmlab_report(&context, &to).unwrap(), exit::OK);
    let text = fs::read_to_string(&again).unwrap();
    assert!(text.contains("\nfork\n  spawn ") && text.contains("\nrun\n  plan "), "{text}");
    let refused = vmlab_report(&context, &[&to[..], &["--format", "ktap"]].concat()).unwrap_err();
    assert_eq!(refused.code, exit::USAGE);
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    for args in [
        &["--features", "--timings"][..],
        &["--features", "--list"],
        &["--list", "latest"],
        &["--list", "--format", "json"],
        &["-v", "-q"],
        &["--format", "xml"],
    ] {
        assert!(Command::try_parse_from([&["report"], args].concat()).is_err(), "{args:?}");
    }
}

#[test]
fn the_table_of_features_is_rendered_in_each_of_its_forms() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    let id = run(&context, &home).id;
    let again = home.path().join("again");
    for (form, beginning) in [
        ("text", "Features on 4 kernels\n"),
        ("markdown", "# Features on"),
        ("json", "{\n"),
        ("html", "<!doctype html>"),
    ] {
        let args = ["--features", "latest", id.as_str(), "--format", form, "-o", again.to_str().unwrap()];
        assert_eq!(vmlab_report(&context, &args).unwrap(), exit::OK);
        let text = fs::read_to_string(&again).unwrap();
        assert!(text.starts_with(beginning) && text.contains("uts.hostname"), "{form}: {text}");
    }
    let code = |args: &[&str]| vmlab_report(&context, args).unwrap_err().code;
    assert_eq!(code(&["--features", "--format", "ktap"]), exit::USAGE);
    assert_eq!(code(&["--format", "html"]), exit::USAGE);
    assert_eq!(code(&["latest", id.as_str()]), exit::USAGE, "several runs are only for --features");
    assert_eq!(code(&["--features", "1999"]), exit::USAGE);
    assert_eq!(code(&["--features", "-o", "/proc/none/x"]), exit::USAGE);
    assert_eq!(code(&["--features", "-o", "/dev/full"]), exit::LAB);
}

/// Such as a run of `vmlab exec`, or one that only measures.
#[test]
fn the_table_of_features_is_that_of_the_latest_run_with_scenarios() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    run(&context, &home);
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_345_999);
    let mut without_scenarios = RunRecord::create(&context.dirs, later).unwrap();
    for mut stamped in fixture::run() {
        match &mut stamped.event {
            LabEvent::RunStarted { jobs, .. } => jobs.clear(),
            LabEvent::RunFinished { counts, .. } => *counts = vmlab_events::event::Counts::default(),
            _ => continue,
        }
        without_scenarios.append(&stamped).unwrap();
    }
    let again = home.path().join("again");
    let table = |args: &[&str]| {
        vmlab_report(&context, &[&["--features", "-o", again.to_str().unwrap()], args].concat()).unwrap();
        fs::read_to_string(&again).unwrap()
    };
    assert!(table(&[]).contains("FAILED"), "the latest run has no scenario");
    assert!(!table(&["latest"]).contains("FAILED"), "a run that is named is taken");
}

#[test]
fn the_error_for_an_unknown_format_lists_the_forms_of_the_table_of_features() {
    let error = Command::try_parse_from(["report", "--features", "--format", "xml"]).unwrap_err().to_string();
    assert!(error.contains("text, markdown, json or html"), "{error}");
}

/// Records of November 2026 have one item, called a seed, and no steps.
#[test]
fn a_record_without_items_has_a_table_of_features() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    let record = run(&context, &home);
    let path = record.dir.join(record::EVENTS);
    let events = fs::read_to_string(&path).unwrap();
    let old = events.replace("\"items\":[\"2a\"],\"steps\":[],", "");
    assert_ne!(old, events);
    fs::write(&path, old).unwrap();
    let again = home.path().join("again");
    vmlab_report(&context, &["--features", "-o", again.to_str().unwrap()]).unwrap();
    let text = fs::read_to_string(&again).unwrap();
    assert!(text.contains("uts.hostname failed (TIMEOUT)"), "{text}");
}
