//! Privileges: vmlab needs no root, and QEMU runs under a filter of system calls.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Uid, chown, geteuid};
use vmlab_events::exit;
use vmlab_tests::env::TestEnv;
use vmlab_tests::outcome::Outcome;
use vmlab_tests::reports::check_ktap;

use crate::forks::env_without_templates;
use crate::{TRIXIE, VMLAB, arguments, boot_ids, events_file, with_cache};

/// The user id of nobody.
const NOBODY: u32 = 65534;

/// How a QEMU was started, and the seccomp mode of each of its threads, as in `Seccomp:` of proc_pid_status(5). Mode 2 is a
/// filter.
fn seen(pid: i32, command: &str) -> Option<(&'static str, BTreeSet<String>)> {
    let start = if command.starts_with("vmlab-guest-") {
        "thaw"
    } else if !command.contains("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny ") {
        return None;
    } else {
        match (command.contains("-incoming"), command.contains("share=on")) {
            (true, _) => "fork",
            (false, true) => "template",
            (false, false) => "boot",
        }
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let modes = threads.filter_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(|mode| mode.trim().to_owned())
    });
    Some((start, modes.collect()))
}

#[test]
fn every_qemu_runs_under_its_filter_of_system_calls() {
    let (env, _cache) = env_without_templates();
    for (option, wanted) in [
        (["--fork-method", "restore"], BTreeSet::from(["fork", "template"])),
        (["--fork-method", "thaw"], BTreeSet::from(["thaw"])),
        (["--isolation", "boot"], BTreeSet::from(["boot"])),
    ] {
        let words = [&["--kernel", TRIXIE, "uts", "ipc"][..], &option].concat();
        let mut running = env.start(&arguments(&env, &words));
        let mut filtered = BTreeSet::new();
        running.until("a filter in each kind of QEMU", || {
            for process in env.processes() {
                let modes = seen(process.pid, &process.command);
                filtered.extend(
                    modes.filter(|(_, modes)| *modes == BTreeSet::from(["2".to_owned()])).map(|(start, _)| start),
                );
            }
            wanted.is_subset(&filtered).then_some(())
        });
        Outcome::of(&env, &events_file(&env), running.wait()).exits(exit::OK);
    }
}

/// An environment whose directories belong to nobody, with a copy of vmlab, because nobody may have no access to the build's
/// directory. Without root, the user who runs the tests takes nobody's place.
fn as_nobody() -> (TestEnv, PathBuf) {
    drop(super::env());
    let env = with_cache(Path::new(super::CACHE));
    let (cache, program) = (env.cache(), env.home().join("vmlab"));
    fs::copy(VMLAB, &program).unwrap();
    for dir in [&cache.join("vmlab"), &env.state()] {
        fs::create_dir_all(dir).unwrap();
    }
    let from = Path::new(super::CACHE).join("vmlab/kernels");
    assert!(Command::new("cp").arg("-r").arg(from).arg(cache.join("vmlab")).status().unwrap().success());
    if geteuid().is_root() {
        own(env.home());
    }
    let env = env.env("XDG_CACHE_HOME", cache);
    (env, program)
}

fn own(path: &Path) {
    chown(path, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| own(&entry.unwrap().path()));
    }
}

/// A command of that user, in a read-only directory.
fn typed(env: &TestEnv, program: &Path, words: &[String]) -> Command {
    let here = env.home().join("read-only");
    fs::create_dir_all(&here).unwrap();
    fs::set_permissions(&here, fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = env.command(program);
    command.arg0("vmlab").args(words).current_dir(here);
    if geteuid().is_root() {
        // The standard library also clears supplementary groups when root sets another user.
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[test]
fn an_ordinary_user_boots_forks_and_reports() {
    let (env, program) = as_nobody();
    let ktap = env.home().join("ktap");
    let report = format!("ktap={}", ktap.display());
    let words = arguments(&env, &["--kernel", TRIXIE, "=user.file-owner", "uts", "--report", &report]);
    let outcome = Outcome::of(&env, &events_file(&env), env.start_command(typed(&env, &program, &words)).wait());
    outcome.exits(exit::OK).has("uts.hostname", "PASS", "");
    assert!(boot_ids(&outcome).len() > 1, "each scenario in a fork of its own: {}", outcome.ended);
    check_ktap(&fs::read_to_string(ktap).unwrap(), &outcome.events);
}

#[test]
fn doctor_names_the_command_that_only_root_can_run() {
    let (env, program) = as_nobody();
    let empty = env.home().join("empty");
    fs::create_dir(&empty).unwrap();
    std::os::unix::fs::symlink("/usr/bin/apt-get", empty.join("apt-get")).unwrap();
    let mut command = typed(&env, &program, &["doctor".to_owned(), "--fix".to_owned()]);
    command.env("PATH", &empty);
    let ended = env.start_command(command).wait();
    ended.exits(exit::LAB);
    assert!(
        ended.stderr.contains("only root can install packages, and sudo is not installed; run as root: "),
        "{ended}"
    );
    assert!(ended.stderr.contains("apt-get"), "{ended}");
}

#[test]
fn a_process_limit_that_allows_no_thread_is_reported() {
    let (env, program) = as_nobody();
    let mut command = typed(&env, Path::new("prlimit"), &["--nproc=1".to_owned()]);
    command.arg(program).arg("list");
    let ended = env.start_command(command).wait();
    ended.exits(exit::LAB);
    assert!(ended.stderr.contains("cannot start a thread") && !ended.stderr.contains("panicked"), "{ended}");
}
