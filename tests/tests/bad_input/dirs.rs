//! Cache and state directories that are full, read-only or files.

use std::fs;

use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_tests::UTS;
use vmlab_tests::env::{Ended, TestEnv};
use vmlab_tests::fake::script::{Action, Guest, hello};
use vmlab_tests::lab::FakeLab;
use vmlab_tests::outcome::record_dir;

use crate::{FAKE_QEMU, ONLY_HOSTNAME, VMLAB, in_mounts, is_refused, lab};

/// A shell command that mounts a tmpfs over a directory of the environment.
fn mount(dir: &str, options: &str) -> String {
    format!("mkdir -p \"$HOME/{dir}\" && mount -t tmpfs -o {options} none \"$HOME/{dir}\"")
}

/// Prints what a user who cannot mount did not test.
fn not_tried(what: &str) {
    eprintln!("not tried, as this user may make no mount namespace: {what}");
}

/// Checks that a run without a usable cache passes, and that one notice says why the next run will be as slow.
fn goes_on(lab: &FakeLab, ended: Ended, words: &[&str]) {
    let outcome = lab.outcome(ended);
    outcome.exits(exit::OK).has("uts.hostname", "PASS", "");
    let notes: Vec<_> = outcome.notices().filter(|text| text.starts_with("could not store ")).collect();
    assert!(notes.len() == 1 && words.iter().all(|words| notes[0].contains(words)), "{notes:?}");
}

#[test]
fn a_run_with_a_full_cache_passes() {
    let lab = lab();
    let Some(ended) = in_mounts(&lab, &mount("cache", "size=64k"), &[ONLY_HOSTNAME]) else {
        return not_tried("a full cache");
    };
    goes_on(
        &lab,
        ended,
        &["the guest image for the next run: cannot write ", "No space left on device", "free some space there"],
    );
}

#[test]
fn a_run_with_a_read_only_cache_passes() {
    let lab = lab();
    let Some(ended) = in_mounts(&lab, &mount("cache", "ro"), &[ONLY_HOSTNAME]) else {
        // A user who cannot mount is not root, so the directory's mode has the same effect.
        let cache = lab.env.cache();
        fs::create_dir_all(&cache).unwrap();
        fs::set_permissions(&cache, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        let ended = lab.env.run(&lab.arguments(&[ONLY_HOSTNAME]));
        return goes_on(&lab, ended, &["make it writable for this user, or set XDG_CACHE_HOME"]);
    };
    goes_on(&lab, ended, &["the guest image", "Read-only file system", "or set XDG_CACHE_HOME"]);
}

#[test]
fn a_complete_read_only_cache_causes_no_notice() {
    let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::good(); 2]);
    lab.run(&[ONLY_HOSTNAME]).exits(exit::OK);
    let read_only = "mount --bind \"$HOME/cache\" \"$HOME/cache\" && mount -o remount,bind,ro \"$HOME/cache\"";
    match in_mounts(&lab, read_only, &[ONLY_HOSTNAME]) {
        Some(ended) => drop(lab.outcome(ended).exits(exit::OK)),
        None => not_tried("a read-only cache in which all is there"),
    }
}

#[test]
fn a_run_with_a_file_as_cache_passes() {
    let lab = lab();
    fs::write(lab.env.cache(), "").unwrap();
    let ended = lab.env.run(&lab.arguments(&[ONLY_HOSTNAME]));
    goes_on(&lab, ended, &["the guest image", "Not a directory", "set XDG_CACHE_HOME"]);
}

#[test]
fn a_read_only_state_directory_is_refused_with_a_remedy() {
    let lab = lab();
    let words = ["cannot record the run in ", "set XDG_STATE_HOME to a writable directory", "or give --no-record"];
    match in_mounts(&lab, &mount("state", "ro"), &[ONLY_HOSTNAME]) {
        Some(ended) => is_refused(&lab.env, &ended, exit::LAB, &words),
        None => not_tried("a read-only state directory"),
    }
    fs::remove_dir_all(lab.env.state()).unwrap_or_default();
    fs::write(lab.env.state(), "").unwrap();
    let ended = lab.env.run(&lab.arguments(&[ONLY_HOSTNAME]));
    is_refused(&lab.env, &ended, exit::LAB, &words);
    assert_eq!(lab.unclaimed(), [0]);
    // The remedy works.
    lab.run(&[ONLY_HOSTNAME, "--no-record"]).exits(exit::OK);
}

#[test]
fn a_state_directory_that_fills_up_ends_the_record_but_not_the_run() {
    let console = Action::Console(b"[    1.0] a kernel that talks\n".repeat(20_000));
    let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::new(vec![console, hello(), Action::ServeRest])]);
    let Some(ended) = in_mounts(&lab, &mount("state", "size=64k"), &UTS) else {
        return not_tried("a state directory that fills up");
    };
    ended.exits(exit::LAB);
    assert!(ended.stderr.contains("No space left on device"), "{ended}");
    assert!(ended.stderr.contains("the run goes on without a record"), "{ended}");
    assert_eq!(ended.stdout.matches("consoles are not recorded from here on").count(), 1, "{ended}");
    assert!(ended.stdout.contains("3 scenarios on 1 kernel: "), "{ended}");
    assert!(matches!(lab.events().last().unwrap().event, LabEvent::RunFinished { exit_code: exit::OK, .. }), "{ended}");
}

/// A guest that waits for the test before it boots.
fn waits() -> Guest {
    let before = [Action::Mark("up".to_owned()), Action::AwaitMark("go".to_owned()), hello()];
    Guest::new([before.to_vec(), vec![Action::ServeRest]].concat())
}

#[test]
fn a_record_that_is_removed_during_its_run_is_reported_as_lost() {
    for option in ["--quiet", "--verbose"] {
        let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::good(), waits()]);
        lab.run(&[ONLY_HOSTNAME]).exits(exit::OK);
        let before = record_dir(&lab.env).unwrap();
        let mut running = lab.start(&[ONLY_HOSTNAME, option]);
        running.until("the guest", || lab.dir().join("up").exists().then_some(()));
        let record = record_dir(&lab.env).unwrap();
        fs::remove_dir_all(&record).unwrap();
        fs::write(lab.dir().join("go"), "").unwrap();
        let ended = running.wait();
        ended.exits(exit::LAB);
        for words in ["was removed while the run was active", "the run goes on without a record"] {
            assert!(ended.stderr.contains(words), "{ended}");
        }
        assert!(ended.stdout.contains("1 passed") && !ended.stdout.contains("record: "), "{ended}");
        // What remains is the run before, under its own name.
        let [lost, before] = [record, before].map(|dir| dir.file_name().unwrap().to_str().unwrap().to_owned());
        for format in ["human", "json", "ktap", "junit"] {
            let report = lab.env.run(&["report", "--quiet", "--format", format]);
            report.exits(exit::OK);
            let note = format!("the record of the latest run, {lost}, was removed; this is the run before, {before}");
            assert!(report.stderr.contains(&note), "{report}");
        }
    }
}

#[test]
fn a_vmlab_that_gets_no_more_memory_ends_with_its_own_exit_code() {
    let env = TestEnv::new(VMLAB);
    let file = env.home().join("events.jsonl");
    fs::write(&file, vec![b'x'; 60_000_000]).unwrap();
    // A line is read as a whole, and the limit is below its length.
    let mut limited = env.command("prlimit");
    limited.arg("--as=80000000").arg(VMLAB).arg("report").arg(&file);
    let ended = env.start_command(limited).wait();
    ended.exits(exit::LAB);
    assert!(ended.stderr.contains("vmlab: out of memory: "), "{ended}");
}

#[test]
fn consoles_that_cannot_be_recorded_are_told_once() {
    let console = Action::Console(b"[    1.0] a kernel that talks\n".repeat(20_000));
    let guest = Guest::new(vec![console, hello(), Action::ServeRest]);
    let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![guest; 3]);
    let Some(ended) = in_mounts(&lab, &mount("state", "size=64k"), &[ONLY_HOSTNAME, "--repeat", "3"]) else {
        return not_tried("a state directory that fills up");
    };
    assert_eq!(ended.stdout.matches("consoles are not recorded from here on").count(), 1, "{ended}");
}

#[test]
fn a_read_only_cache_without_a_template_has_forks_of_one_in_memory() {
    let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::template(), Guest::good_fork(), Guest::good_fork()]);
    let arguments = ["=uts.hostname", "=uts.sysctl", "--isolation", "fork", "--jobs", "1"];
    let Some(ended) = in_mounts(&lab, &mount("cache", "ro"), &arguments) else {
        return not_tried("forks with a read-only cache");
    };
    let outcome = lab.outcome(ended);
    outcome.exits(exit::OK).has("uts.hostname", "PASS", "").has("uts.sysctl", "PASS", "");
    assert_eq!(outcome.guests(), 3);
    let notes = outcome.notices().filter(|text| text.contains("templates are kept in memory and end with this run"));
    assert_eq!(notes.count(), 1);
}

#[test]
fn a_read_only_cache_with_a_template_has_forks_of_it() {
    let lab = FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::template(), Guest::good_fork(), Guest::good_fork()]);
    let arguments = [ONLY_HOSTNAME, "--isolation", "fork"];
    lab.run(&arguments).exits(exit::OK);
    let read_only = "mount --bind \"$HOME/cache\" \"$HOME/cache\" && mount -o remount,bind,ro \"$HOME/cache\"";
    let Some(ended) = in_mounts(&lab, read_only, &arguments) else {
        return not_tried("forks of a template in a read-only cache");
    };
    let outcome = lab.outcome(ended);
    outcome.exits(exit::OK).has("uts.hostname", "PASS", "");
    assert_eq!(outcome.guests(), 1, "only a fork: {}", outcome.ended);
}

#[test]
fn a_run_without_home_and_xdg_variables_is_refused() {
    let env = TestEnv::new(VMLAB);
    let mut command = env.command(VMLAB);
    command.arg("run").env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("XDG_STATE_HOME");
    let ended = env.start_command(command).wait();
    is_refused(&env, &ended, exit::USAGE, &["neither XDG_CACHE_HOME nor HOME is set", "set one of them"]);
}

#[test]
fn a_record_that_cannot_be_read_is_refused() {
    let env = TestEnv::new(VMLAB);
    is_refused(&env, &env.run(&["report"]), exit::USAGE, &["there is no record", "`vmlab run` creates one"]);
    is_refused(&env, &env.run(&["report", "1999"]), exit::USAGE, &["there is no record"]);
    is_refused(&env, &env.run(&["report", "/no/such/run"]), exit::USAGE, &["/no/such/run", "`vmlab report --list`"]);
    is_refused(&env, &env.run(&["report", "/etc"]), exit::USAGE, &["/etc is no record of a run"]);
    is_refused(&env, &env.run(&["report", "/etc/passwd"]), exit::LAB, &["/etc/passwd is no whole record of a run"]);
    fs::write(env.state(), "").unwrap();
    is_refused(&env, &env.run(&["report"]), exit::LAB, &["cannot read", "XDG_STATE_HOME"]);
}
