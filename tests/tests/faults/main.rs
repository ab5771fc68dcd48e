//! The fault suite, as a user runs it, on two stock kernels: 6.1, with virtio as modules, and 6.12, with virtio built in.
//! The kernels are fetched into the cache that the tests of kernels use as well.

use std::path::Path;
use std::time::Duration;

use vmlab_events::exit;
use vmlab_tests::env::{Ended, TestEnv};

const VMLAB: &str = env!("CARGO_BIN_EXE_vmlab-under-test");
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/vmlab-cache");

/// Some faults come to their verdict by the passing of a limit, and each has a run of its own.
const LIMIT: Duration = Duration::from_secs(3600);

/// What is only done where it is asked for, or what neither of these kernels has.
const NOT_DONE: &[&str] = &["host-clock-stepped", "lockdep", "ubsan"];

fn faults(kernel: &str, more: &[&str]) -> Ended {
    let env = TestEnv::new(VMLAB).env("XDG_CACHE_HOME", Path::new(CACHE));
    let named = ["VMLAB_QEMU", "VMLAB_DEBIAN_MIRROR", "VMLAB_DEBIAN_SECURITY_MIRROR"].into_iter();
    let named = named.filter_map(|name| Some((name, std::env::var_os(name)?)));
    let env = named.fold(env, |env, (name, value)| env.env(name, value));
    env.run(&["kernel", "fetch", kernel]).exits(exit::OK);
    let ended = env.start(&[&["selftest", "faults", "--kernel", kernel], more].concat()).wait_within(LIMIT);
    assert_eq!(env.outliving(), []);
    ended
}

/// Of each row its name and what is said of it.
fn rows(ended: &Ended) -> Vec<(&str, &str)> {
    let rows = ended
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' ') && !line.starts_with("FAULT "));
    rows.filter_map(|line| line.split_once(' ')).map(|(name, rest)| (name, rest.trim_start())).collect()
}

/// `missing` is what this one does not have.
fn all_are_right(kernel: &str, missing: &[&str]) {
    let ended = faults(kernel, &[]);
    ended.exits(exit::OK);
    let rows = rows(&ended);
    assert_eq!(rows.len(), vmlab_selftest::table::ROWS.len(), "{ended}");
    for (name, said) in rows {
        let due = if NOT_DONE.iter().chain(missing).any(|row| *row == name) { "not done " } else { "right " };
        assert!(said.starts_with(due), "{name}: {said}\n{ended}");
    }
    assert!(ended.stdout.contains("after:  0 processes, 0 sockets, 0 temporary files\n"), "{ended}");
}

#[test]
fn on_bookworm() {
    all_are_right("debian:bookworm", &["kfence"]);
}

#[test]
fn on_trixie() {
    all_are_right("debian:trixie", &[]);
}

/// One of each kind, where each scenario has a boot of its own, and where all share one.
#[test]
fn however_scenarios_are_kept_apart() {
    let some = ["null-dereference", "warning", "pid1-exits", "result-twice", "exits-silently", "qemu-killed"];
    let more = [&["--isolation", "boot", "--isolation", "shared"][..], &some].concat();
    let ended = faults("debian:bookworm", &more);
    ended.exits(exit::OK);
    let rows = rows(&ended);
    assert_eq!(rows.len(), 2 * some.len(), "{ended}");
    assert!(rows.iter().all(|(_, said)| said.starts_with("right ")), "{ended}");
}

#[test]
fn what_there_is_can_be_listed_and_a_mistyped_name_is_no_success() {
    let env = TestEnv::new(VMLAB);
    let ended = env.run(&["selftest", "faults", "--list"]);
    ended.exits(exit::OK);
    assert!(
        ended.stdout.lines().any(|line| line.starts_with("null-dereference ") && line.contains("CRASH 3")),
        "{ended}"
    );
    env.run(&["selftest", "faults", "no-such-fault"]).exits(exit::NOTHING_RAN);
}
