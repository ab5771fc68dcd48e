//! Templates in a cache that another program has changed, and the facts that the cache remembers.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vmlab_events::exit;
use vmlab_store::cache::leftovers::OLDER;
use vmlab_store::checksummed::{self, Stored};
use vmlab_tests::fake::script::{Action, Guest, Qmp};
use vmlab_tests::lab::FakeLab;
use vmlab_tests::outcome::{Outcome, record_dir};

use crate::{HOSTNAME, ONLY_HOSTNAME, lab};

const FORK: [&str; 3] = [ONLY_HOSTNAME, "--isolation", "fork"];

/// The directory of the lab's only template.
fn template(lab: &FakeLab) -> PathBuf {
    let root = lab.env.cache().join("vmlab/templates");
    let mut dirs = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    dirs.next().unwrap()
}

fn notices<'a>(outcome: &'a Outcome, words: &str) -> Vec<&'a str> {
    outcome.notices().filter(|text| text.contains(words)).collect()
}

/// A lab that has made a template, with guests for a second run.
fn with_template(guests: Vec<Guest>) -> FakeLab {
    let lab = lab([vec![Guest::template(), Guest::good_fork()], guests].concat());
    lab.run(&FORK).exits(exit::OK);
    lab
}

#[test]
fn a_template_whose_description_is_of_another_machine_is_made_again() {
    let lab = with_template(vec![Guest::template(), Guest::good_fork()]);
    let about = template(&lab).join("template.json");
    let Ok(Stored::Sound(mut content)) = checksummed::read::<Value>(&about) else { panic!("no description") };
    content["hello"]["cpus"] = 7.into();
    checksummed::write(&about, &content).unwrap();
    let outcome = lab.run(&FORK);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    let found = notices(&outcome, "the template was damaged");
    assert!(matches!(&found[..], [only] if only.contains("7 processors")), "{found:?}");
    assert_eq!(lab.unclaimed(), [0; 0]);
}

#[test]
fn a_file_where_a_template_belongs_costs_one_boot() {
    let lab = with_template(vec![Guest::template(), Guest::good_fork(), Guest::good_fork()]);
    let dir = template(&lab);
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "no template").unwrap();
    let outcome = lab.run(&FORK);
    outcome.exits(exit::OK);
    assert_eq!(notices(&outcome, "a file stands where a directory should be").len(), 1, "{}", outcome.ended);
    let outcome = lab.run(&FORK);
    outcome.exits(exit::OK);
    assert_eq!((outcome.guests(), lab.unclaimed()), (1, Vec::new()), "{}", outcome.ended);
}

/// The templates in use exceed the limit again after each new template.
#[test]
fn a_cache_limit_that_templates_in_use_exceed_is_reported_once_in_a_run() {
    let pair = |kernel: &str| [Guest::template().on(kernel), Guest::good_fork()];
    let mut lab = lab([pair("vm-a"), pair("vm-b")].concat()).kernels(&["vm-a", "vm-b"]);
    lab.env = lab.env.env("VMLAB_CACHE_LIMIT", "1");
    // The kernels differ: the same kernel under another name would have the same template.
    let kernel = fs::OpenOptions::new().append(true).open(lab.env.home().join("kernels/vm-b"));
    kernel.unwrap().write_all(b"b").unwrap();
    // One job at a time: a fork names no kernel, so any start could take a guest of the script.
    let outcome = lab.run(&[ONLY_HOSTNAME, "--isolation", "fork", "--jobs", "1", "--boot-timeout", "5"]);
    outcome.exits(exit::OK);
    assert_eq!(notices(&outcome, "the cache exceeds its limit").len(), 1, "{}", outcome.ended);
}

#[test]
fn a_cache_that_cannot_be_written_ends_no_run_and_is_reported_once() {
    let lab = lab(vec![Guest::good()]);
    let dir = lab.env.cache().join("vmlab");
    fs::create_dir_all(&dir).unwrap();
    // Not even root can make a directory of a file.
    let files = ["images", "stat-cache", "templates", "unpacked"].map(|name| dir.join(name));
    files.iter().for_each(|file| fs::write(file, "").unwrap());
    let ended = lab.env.run(&lab.arguments(&FORK));
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    let outcome = lab.outcome(ended);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    let failed = notices(&outcome, "could not store");
    assert!(matches!(&failed[..], [only] if only.contains("the guest image")), "{failed:?}");
    assert_eq!(notices(&outcome, "guests are booted, not forked").len(), 1, "{}", outcome.ended);
}

/// All small files of a cache.
fn json_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            json_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
}

#[test]
fn a_run_survives_and_repairs_a_flipped_byte_in_any_small_file() {
    let made_anew = vec![Guest::template(), Guest::good_fork(), Guest::good_fork()];
    let (lab, _) = with_qemu_of_its_own([made_anew.clone(), made_anew].concat());
    lab.run(&FORK).exits(exit::OK);
    lab.run(&FORK).exits(exit::OK);
    let mut files = Vec::new();
    json_files(&lab.env.cache().join("vmlab"), &mut files);
    assert!(files.iter().any(|path| path.ends_with("template.json")) && files.len() > 2, "{files:?}");
    for path in &files {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let outcome = lab.run(&FORK);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!(notices(&outcome, "the template was damaged").len(), 1, "{}", outcome.ended);
    let outcome = lab.run(&FORK);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!((outcome.guests(), lab.unclaimed()), (1, Vec::new()), "{}", outcome.ended);
    assert!(files.iter().all(|path| checksummed_is_sound(path)), "all were written again");
}

fn checksummed_is_sound(path: &Path) -> bool {
    matches!(checksummed::read::<Value>(path), Ok(Stored::Sound(_)))
}

#[test]
fn what_an_older_vmlab_remembered_ends_no_run_and_is_removed_to_make_room() {
    let lab = lab(vec![Guest::good()]);
    let dir = lab.env.cache().join("vmlab");
    let [older_dir, older_file] = OLDER.map(|name| dir.join(name));
    fs::create_dir_all(&older_dir).unwrap();
    fs::write(older_dir.join("0123.json"), "{}").unwrap();
    fs::write(&older_file, "{}").unwrap();
    lab.run(&[ONLY_HOSTNAME]).exits(exit::OK);
    assert!(!older_dir.exists() && !older_file.exists());
}

/// A QEMU whose monitor comes up and that then exits, as one does that cannot load a state.
fn cannot_restore(code: u8) -> Guest {
    let actions = vec![Action::AwaitCommand("migrate-incoming".to_owned()), Action::Exit(code)];
    Guest::new(actions)
}

/// A lab with a copy of the fake QEMU, which a test can change.
fn with_qemu_of_its_own(guests: Vec<Guest>) -> (FakeLab, PathBuf) {
    let lab = lab(guests);
    let qemu = lab.env.home().join("qemu");
    // A child process writes the file, see FakeLab::script.
    assert!(std::process::Command::new("cp").arg(crate::FAKE_QEMU).arg(&qemu).status().unwrap().success());
    let lab = lab.qemu(qemu.clone());
    await_cacheable();
    (lab, qemu)
}

/// Nothing is remembered of a file that was written a moment ago (`vmlab_store::stat_cache`).
fn await_cacheable() {
    std::thread::sleep(std::time::Duration::from_millis(2_100));
}

#[test]
fn a_state_that_qemu_refuses_is_remembered_until_qemu_changes() {
    let first = vec![Guest::template(), cannot_restore(1), Guest::good()];
    let second = vec![Guest::good()];
    let third = vec![Guest::template(), Guest::good_fork()];
    let (lab, qemu) = with_qemu_of_its_own([first, second, third].concat());
    let outcome = lab.run(&FORK);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!(notices(&outcome, "guests are booted, not forked").len(), 1, "{}", outcome.ended);
    assert_eq!(notices(&outcome, "remembered until a reboot").len(), 1, "{}", outcome.ended);
    assert_eq!(notices(&outcome, "(vmlab.log has the cause)").len(), 1, "{}", outcome.ended);
    let log = fs::read_to_string(record_dir(&lab.env).unwrap().join("vmlab.log")).unwrap();
    assert!(log.lines().any(|line| line.contains("a fork failed") && line.contains("exited with 1")), "{log}");
    let outcome = lab.run(&FORK);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    let found = notices(&outcome, "guests are booted, not forked");
    assert!(
        matches!(&found[..], [only] if only.contains("QEMU refused to fork this guest in an earlier run")),
        "{found:?}"
    );
    assert_eq!(outcome.guests(), 1, "{}", outcome.ended);
    touch(&qemu);
    let outcome = lab.run(&FORK);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    assert_eq!(
        (notices(&outcome, "guests are booted, not forked").len(), lab.unclaimed()),
        (0, Vec::new()),
        "{}",
        outcome.ended
    );
}

fn touch(path: &Path) {
    fs::File::open(path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    await_cacheable();
}

#[test]
fn a_refusal_that_the_host_may_have_caused_is_not_remembered() {
    let killed = Guest::new(vec![Action::AwaitCommand("migrate-incoming".to_owned()), Action::Signal(9)]);
    // QEMU ends before its monitor comes up, as without memory for the guest.
    let no_memory = Guest::new(vec![Action::Exit(1)]).with_qmp(Qmp::Silent);
    // A QEMU that is killed is started again a few times.
    for (dead, forks) in [(killed, 4), (no_memory, 1), (cannot_restore(0), 1)] {
        let each = [vec![Guest::template()], vec![dead; forks], vec![Guest::good()]].concat();
        let (lab, _) = with_qemu_of_its_own([each.clone(), each].concat());
        for _ in 0..2 {
            let outcome = lab.run(&FORK);
            outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
            assert_eq!((notices(&outcome, "remembered").len(), outcome.guests()), (0, forks + 2), "{}", outcome.ended);
        }
    }
}

#[test]
fn a_template_of_an_earlier_run_is_made_again_before_qemu_is_blamed() {
    let second = vec![cannot_restore(1), Guest::good()];
    let third = vec![Guest::template(), cannot_restore(1), Guest::good()];
    let fourth = vec![Guest::good()];
    let first = vec![Guest::template(), Guest::good_fork()];
    let (lab, _) = with_qemu_of_its_own([first, second, third, fourth].concat());
    for (guests, remembered) in [(2, 0), (2, 0), (3, 1), (1, 1)] {
        let outcome = lab.run(&FORK);
        outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
        let found = notices(&outcome, "vmlab cache clear facts").len();
        assert_eq!((outcome.guests(), found), (guests, remembered), "{}", outcome.ended);
    }
}
