use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::prune::{MAX_RECORDS, prune};
use super::*;
use vmlab_events::event::Stamped;
use vmlab_events::fixture;
use vmlab_events::log;

fn dirs(home: &TempDir) -> Dirs {
    Dirs { cache: home.path().join("cache"), state: home.path().join("state/vmlab") }
}

/// 2026-11-22 11:02:03 UTC, and so many seconds.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_345_323 + seconds)
}

fn record(dirs: &Dirs, now: SystemTime, events: &[Stamped]) -> RunRecord {
    let mut record = RunRecord::create(dirs, now).unwrap();
    assert_eq!(record.notices, Vec::<String>::new());
    events.iter().for_each(|event| record.append(event).unwrap());
    record
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    let events = fixture::run();
    let record = record(&dirs, at(0), &events);
    assert!(record.id.starts_with("20261122-110203-"), "{}", record.id);
    assert!(is_run_id(&record.id));
    assert_eq!(record.console_path(3), record.dir.join("console-3.log"));
    let id = record.id.clone();
    record.finish().unwrap();
    for name in [&id, "latest", "2026", runs_dir(&dirs).join(&id).to_str().unwrap()] {
        let run = open(&dirs, name).unwrap();
        assert_eq!(run.events, events);
        assert_eq!(run.notices, Vec::<String>::new());
        assert!(matches!(run.state, RunState::Finished { exit_code: 3, .. }));
        assert!(run.dir.unwrap().ends_with(&id));
    }
    let alone = open(&dirs, runs_dir(&dirs).join(&id).join(EVENTS).to_str().unwrap()).unwrap();
    assert_eq!((alone.dir, alone.events), (None, events));
}

/// The clock may be set back by any amount between or during runs.
#[test]
fn a_run_keeps_its_record_after_the_clock_was_set_back() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    for second in 0..=u64::try_from(MAX_RECORDS).unwrap() {
        record(&dirs, at(86_400 + second), &[]).finish().unwrap();
    }
    let events = fixture::run();
    let earlier = record(&dirs, at(0), &events);
    let id = earlier.id.clone();
    assert!(id.starts_with("20261122-"), "{id}");
    earlier.finish().unwrap();
    let run = open(&dirs, LATEST).unwrap();
    assert!(run.dir.unwrap().ends_with(&id), "the run that was started last is the latest, whatever its name says");
    assert_eq!(run.events, events);
}

#[test]
fn runs_of_the_same_second_have_different_ids() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    let records: Vec<_> = (0..30).map(|_| record(&dirs, at(0), &[])).collect();
    let ids: BTreeSet<_> = records.iter().map(|record| &record.id).collect();
    assert_eq!(ids.len(), 30);
}

#[test]
fn latest_is_the_run_that_was_started_last() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    assert!(matches!(open(&dirs, LATEST), Err(RecordError::NoRuns(_))));
    let first = record(&dirs, at(0), &fixture::run());
    let second = record(&dirs, at(1), &fixture::run()[..1]);
    assert!(open(&dirs, LATEST).unwrap().dir.unwrap().ends_with(&second.id));
    assert_eq!(fs::read_link(runs_dir(&dirs).join(LATEST)).unwrap(), Path::new(&second.id));
    fs::remove_dir_all(&second.dir).unwrap();
    assert!(open(&dirs, LATEST).unwrap().dir.unwrap().ends_with(&first.id), "a link that leads nowhere is no answer");
}

#[test]
fn a_run_without_its_last_event_is_active_or_was_cut_off() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    let record = record(&dirs, at(0), &fixture::run()[..5]);
    let running = open(&dirs, LATEST).unwrap();
    assert_eq!(running.state, RunState::Running);
    assert!(running.notices[0].contains("still active"));
    drop(record);
    let cut = open(&dirs, LATEST).unwrap();
    assert_eq!((cut.state, cut.events.len()), (RunState::CutOff, 5));
    assert!(cut.notices[0].contains("cut off"));
}

#[test]
fn unknown_names_are_errors_with_a_remedy() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    let ids = [0, 1, 2, 3].map(|second| record(&dirs, at(second), &fixture::run()).id);
    let error = |name: &str| open(&dirs, name).unwrap_err().to_string();
    assert!(error("1999").contains("there is no record of a run `1999`"), "{}", error("1999"));
    assert!(error("1999").contains("vmlab report --list"));
    assert!(error("").contains("no record of a run ``"));
    let ambiguous = error("20261122");
    assert!(ambiguous.starts_with("`20261122` is the beginning of 4 run names, among them "), "{ambiguous}");
    assert!(ambiguous.contains(&ids[3]) && !ambiguous.contains(&ids[0]), "{ambiguous}");
    assert!(error("/no/such/place").contains("there is no record of a run `/no/such/place`"));
    assert!(!error("../../etc").contains(home.path().to_str().unwrap()), "a path is not looked for among the records");
    assert!(error(home.path().to_str().unwrap()).contains("is no record of a run: there is no events.jsonl in it"));
    assert!(error("/etc/passwd").contains("it holds no event of a run: line 1: "), "{}", error("/etc/passwd"));
}

#[test]
fn an_unusable_state_directory_is_named_in_the_error() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("state"), "a file").unwrap();
    let error = RunRecord::create(&dirs(&home), at(0)).unwrap_err().to_string();
    let dir = runs_dir(&dirs(&home));
    assert!(error.starts_with(&format!("cannot record the run in {}: ", dir.display())), "{error}");
    assert!(error.contains("set XDG_STATE_HOME"), "{error}");
}

#[test]
fn a_record_ends_with_a_complete_line_after_a_write_error() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    let events = fixture::run();
    let mut record = record(&dirs, at(0), &events[..3]);
    let path = record.dir.join(EVENTS);
    record.divert(File::options().write(true).open("/dev/full").unwrap());
    let error = record.append(&events[3]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write to {}: ", path.display())), "{error}");
    record.divert(File::options().append(true).open(&path).unwrap());
    assert!(record.append(&events[4]).is_err(), "no hole in the middle");
    drop(record);
    assert_eq!(open(&dirs, LATEST).unwrap().events, events[..3]);
}

#[test]
fn a_record_that_is_removed_or_moved_while_its_run_is_active_is_lost() {
    let events = fixture::run();
    let remove: fn(&Path) = |dir| fs::remove_dir_all(dir).unwrap();
    let remove_events: fn(&Path) = |dir| fs::remove_file(dir.join(EVENTS)).unwrap();
    let replace: fn(&Path) = |dir| {
        fs::remove_dir_all(dir).unwrap();
        fs::create_dir(dir).unwrap();
        fs::write(dir.join(EVENTS), "{}").unwrap();
    };
    for damage in [remove, remove_events, replace] {
        let home = TempDir::new().unwrap();
        let mut record = record(&dirs(&home), at(0), &events[..2]);
        damage(&record.dir);
        let error = record.append(&events[2]).unwrap_err();
        assert!(matches!(&error, RecordError::Lost(dir) if *dir == record.dir), "{error}");
        assert!(error.to_string().contains("was removed while the run was active"), "{error}");
        assert!(record.append(&events[3]).is_err() && matches!(record.finish(), Err(RecordError::Lost(_))));
    }
    let home = TempDir::new().unwrap();
    let mut record = record(&dirs(&home), at(0), &events[..2]);
    fs::rename(&record.dir, home.path().join("elsewhere")).unwrap();
    // The moved record is written on, and its loss is reported at the end.
    record.append(&events[2]).unwrap();
    assert!(matches!(record.finish(), Err(RecordError::Lost(_))));
}

#[test]
fn the_run_before_a_lost_one_is_read_under_its_own_name() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    let before = record(&dirs, at(0), &fixture::run());
    let lost = record(&dirs, at(1), &fixture::run());
    assert_eq!(open(&dirs, LATEST).unwrap().instead_of, None);
    fs::remove_dir_all(&lost.dir).unwrap();
    let run = open(&dirs, LATEST).unwrap();
    assert_eq!((run.dir, run.instead_of), (Some(before.dir.clone()), Some(lost.id)));
    assert_eq!(open(&dirs, &before.id).unwrap().instead_of, None);
}

#[test]
fn old_records_are_removed_and_running_ones_and_other_files_stay() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    let running = record(&dirs, at(0), &fixture::run()[..1]);
    let ended: Vec<_> = (1..5).map(|second| record(&dirs, at(second), &fixture::run()).id).collect();
    let runs = runs_dir(&dirs);
    fs::create_dir(runs.join("20000101-000000-beef")).unwrap();
    fs::create_dir(runs.join("my notes")).unwrap();
    assert_eq!(prune(&dirs, 2).unwrap(), 3);
    let left: BTreeSet<_> = list(&dirs).unwrap().into_iter().map(|listed| listed.id).collect();
    assert_eq!(left, BTreeSet::from([running.id.clone(), ended[2].clone(), ended[3].clone()]));
    assert!(runs.join("my notes").exists());
    drop(running);
    assert_eq!(prune(&dirs, 2).unwrap(), 1);
}

#[test]
fn many_runs_at_once_never_remove_each_others_records() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut record = RunRecord::create(&dirs, at(0)).unwrap();
                    assert_eq!(record.notices, Vec::<String>::new());
                    record.append(&fixture::run()[0]).unwrap();
                    prune(&dirs, 2).unwrap();
                    assert_eq!(open(&dirs, &record.id).unwrap().state, RunState::Running);
                    record.finish().unwrap();
                }
            });
        }
    });
    prune(&dirs, 2).unwrap();
    assert_eq!(list(&dirs).unwrap().len(), 2);
}

#[test]
fn a_list_has_each_run_newest_first() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    assert_eq!(list(&dirs).unwrap(), []);
    let whole = record(&dirs, at(0), &fixture::run()).id;
    let killed = record(&dirs, at(1), &fixture::run()[..9]).id;
    let empty = record(&dirs, at(2), &[]).id;
    let running = record(&dirs, at(3), &fixture::run()[..1]);
    let listed = list(&dirs).unwrap();
    let summary: Vec<_> =
        listed.iter().map(|run| (run.id.as_str(), run.targets.len(), run.jobs.len(), run.state.clone())).collect();
    let finished = RunState::Finished { counts: fixture::counts(), exit_code: 3 };
    assert_eq!(
        summary,
        [
            (running.id.as_str(), 4, 6, Ok(RunState::Running)),
            (empty.as_str(), 0, 0, Ok(RunState::CutOff)),
            (killed.as_str(), 4, 6, Ok(RunState::CutOff)),
            (whole.as_str(), 4, 6, Ok(finished)),
        ]
    );
}

#[test]
fn a_truncated_record_is_read_as_far_as_it_goes() {
    let home = TempDir::new().unwrap();
    let dirs = dirs(&home);
    let record = record(&dirs, at(0), &fixture::run());
    let path = record.dir.join(EVENTS);
    drop(record);
    let length = fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(length - 7).unwrap();
    let run = open(&dirs, LATEST).unwrap();
    assert_eq!(run.events, fixture::run()[..fixture::run().len() - 1]);
    assert_eq!(run.notices.len(), 2, "{:?}", run.notices);
    fs::write(&path, [log::encode(&fixture::run()[0]).unwrap(), b"xx\n{}\n".to_vec()].concat()).unwrap();
    let error = open(&dirs, LATEST).unwrap_err().to_string();
    assert!(error.contains("events.jsonl is no whole record of a run: line 2 is damaged: "), "{error}");
}

#[test]
fn run_ids_are_times() {
    assert!(is_run_id("20261122-110203-4f2a"));
    for bad in ["", "latest", "20261122-110203", "20261122-110203-4F2A", "20261122-110203-4f2g", "x0261122-110203-4f2a"]
    {
        assert!(!is_run_id(bad), "{bad}");
    }
}
