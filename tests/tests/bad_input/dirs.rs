//! Directories that are full, read-only or no directories.

use std::fs;

use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_tests::bench::{Bench, Ended};
use vmlab_tests::fake::script::{Action, Guest, hello};
use vmlab_tests::lab::FakeLab;

use crate::{FAKE_QEMU, ONLY_HOSTNAME, VMLAB, in_mounts, is_refused, lab};

/// A line of shell that mounts a tmpfs over one of the bench's directories.
fn mount(dir: &str, options: &str) -> String {
    format!("mkdir -p \"$HOME/{dir}\" && mount -t tmpfs -o {options} none \"$HOME/{dir}\"")
}

/// For a user who may mount nothing: what cannot be tried is said.
fn not_tried(what: &str) {
    eprintln!("not tried, as this user may make no mount namespace: {what}");
}

/// A cache only saves time: without it a run goes on, and one note says why the next one takes as long.
fn goes_on(lab: &FakeLab, ended: Ended, words: &[&str]) {
    let outcome = lab.outcome(ended);
    outcome.exits(exit::OK).has("uts.hostname", "PASS", "");
    let notes: Vec<_> = outcome.notices().filter(|text| text.starts_with("not stored for the next run")).collect();
    assert!(notes.len() == 1 && words.iter().all(|words| notes[0].contains(words)), "{notes:?}");
}

#[test]
fn a_full_cache() {
    let lab = lab();
    let Some(ended) = in_mounts(&lab, &mount("cache", "size=64k"), &[ONLY_HOSTNAME]) else {
        return not_tried("a full cache");
    };
    goes_on(&lab, ended, &["the guest image: cannot write ", "No space left on device", "free some space there"]);
}

#[test]
fn a_read_only_cache() {
    let lab = lab();
    let Some(ended) = in_mounts(&lab, &mount("cache", "ro"), &[ONLY_HOSTNAME]) else {
        // Whoever may mount nothing is not root, and for others modes count.
        let cache = lab.bench.cache();
        fs::create_dir_all(&cache).unwrap();
        fs::set_permissions(&cache, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        let ended = lab.bench.run(&lab.arguments(&[ONLY_HOSTNAME]));
        return goes_on(&lab, ended, &["make it writable for this user, or set XDG_CACHE_HOME"]);
    };
    goes_on(&lab, ended, &["the guest image: cannot create ", "Read-only file system", "or set XDG_CACHE_HOME"]);
}

#[test]
fn a_read_only_cache_in_which_all_is_there_is_enough() {
    let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::good(); 2]);
    lab.run(&[ONLY_HOSTNAME]).exits(exit::OK);
    let read_only = "mount --bind \"$HOME/cache\" \"$HOME/cache\" && mount -o remount,bind,ro \"$HOME/cache\"";
    match in_mounts(&lab, read_only, &[ONLY_HOSTNAME]) {
        Some(ended) => drop(lab.outcome(ended).exits(exit::OK)),
        None => not_tried("a read-only cache in which all is there"),
    }
}

#[test]
fn a_cache_that_is_a_file() {
    let lab = lab();
    fs::write(lab.bench.cache(), "").unwrap();
    let ended = lab.bench.run(&lab.arguments(&[ONLY_HOSTNAME]));
    goes_on(&lab, ended, &["the guest image: cannot create ", "Not a directory", "set XDG_CACHE_HOME"]);
}

#[test]
fn a_read_only_place_for_records() {
    let lab = lab();
    let words = ["cannot keep a record of the run in ", "set XDG_STATE_HOME to a directory", "or give --no-record"];
    match in_mounts(&lab, &mount("state", "ro"), &[ONLY_HOSTNAME]) {
        Some(ended) => is_refused(&lab.bench, &ended, exit::LAB, &words),
        None => not_tried("a read-only state directory"),
    }
    fs::remove_dir_all(lab.bench.state()).unwrap_or_default();
    fs::write(lab.bench.state(), "").unwrap();
    let ended = lab.bench.run(&lab.arguments(&[ONLY_HOSTNAME]));
    is_refused(&lab.bench, &ended, exit::LAB, &words);
    assert_eq!(lab.unclaimed(), [0]);
    // And the remedy helps.
    lab.run(&[ONLY_HOSTNAME, "--no-record"]).exits(exit::OK);
}

#[test]
fn a_place_for_records_that_fills_up_costs_the_record_and_not_the_run() {
    let console = Action::Console(b"[    1.0] a kernel that talks\n".repeat(20_000));
    let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::new(vec![console, hello(), Action::ServeRest])]);
    let Some(ended) = in_mounts(&lab, &mount("state", "size=64k"), &[]) else {
        return not_tried("a state directory that fills up");
    };
    ended.exits(exit::LAB);
    assert!(ended.stderr.contains("No space left on device"), "{ended}");
    assert!(ended.stderr.contains("the run goes on without a record"), "{ended}");
    assert!(ended.stdout.contains("the console is not kept"), "{ended}");
    let scenarios = vmlab_image::guest_init::catalogue().unwrap().len();
    assert!(ended.stdout.contains(&format!("{scenarios} scenarios on 1 kernel: ")), "{ended}");
    assert!(matches!(lab.events().last().unwrap().event, LabEvent::RunFinished { exit_code: exit::OK, .. }), "{ended}");
}

#[test]
fn no_home_at_all() {
    let bench = Bench::new(VMLAB);
    let mut command = bench.command(VMLAB);
    command.arg("run").env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("XDG_STATE_HOME");
    let ended = bench.start_command(command).wait();
    is_refused(&bench, &ended, exit::USAGE, &["neither XDG_CACHE_HOME nor HOME is set", "set one of them"]);
}

#[test]
fn records_that_cannot_be_read() {
    let bench = Bench::new(VMLAB);
    is_refused(&bench, &bench.run(&["report"]), exit::USAGE, &["there is no record", "`vmlab run` makes one"]);
    is_refused(&bench, &bench.run(&["report", "1999"]), exit::USAGE, &["there is no record"]);
    is_refused(
        &bench,
        &bench.run(&["report", "/no/such/run"]),
        exit::USAGE,
        &["/no/such/run", "`vmlab report --list`"],
    );
    is_refused(&bench, &bench.run(&["report", "/etc"]), exit::USAGE, &["/etc is no record of a run"]);
    is_refused(&bench, &bench.run(&["report", "/etc/passwd"]), exit::LAB, &["/etc/passwd is no whole record of a run"]);
    fs::write(bench.state(), "").unwrap();
    is_refused(&bench, &bench.run(&["report"]), exit::LAB, &["cannot read", "XDG_STATE_HOME"]);
}
