//! The fault suite on two stock kernels: 6.1, with virtio as modules, and 6.12, with virtio built in. The kernels are in the
//! cache that the `kernels` tests use as well.

use std::path::Path;
use std::time::Duration;

use vmlab_events::exit;
use vmlab_tests::env::{Ended, TestEnv};

const VMLAB: &str = env!("CARGO_BIN_EXE_vmlab-under-test");
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/vmlab-cache");

/// A limit for the whole suite. Each row is a run of its own, and in some rows a limit of vmlab has to pass.
const LIMIT: Duration = Duration::from_secs(3600);

/// Rows that need an option, or a feature that neither of these kernels has.
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

/// The name of each row and the rest of its line.
fn rows(ended: &Ended) -> Vec<(&str, &str)> {
    let rows = ended
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' ') && !line.starts_with("FAULT "));
    rows.filter_map(|line| line.split_once(' ')).map(|(name, rest)| (name, rest.trim_start())).collect()
}

/// Checks that every row is right. `missing` are rows that need a feature this kernel lacks.
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
fn every_fault_has_its_expected_verdict_on_bookworm() {
    all_are_right("debian:bookworm", &["kfence"]);
}

#[test]
fn every_fault_has_its_expected_verdict_on_trixie() {
    all_are_right("debian:trixie", &[]);
}

/// A fault of each kind, with a boot for each scenario and with one guest for all scenarios.
#[test]
fn faults_have_their_expected_verdicts_in_every_isolation_mode() {
    let some = ["null-dereference", "warning", "pid1-exits", "result-twice", "exits-silently", "qemu-killed"];
    let more = [&["--isolation", "boot", "--isolation", "shared"][..], &some].concat();
    let ended = faults("debian:bookworm", &more);
    ended.exits(exit::OK);
    let rows = rows(&ended);
    assert_eq!(rows.len(), 2 * some.len(), "{ended}");
    assert!(rows.iter().all(|(_, said)| said.starts_with("right ")), "{ended}");
}

#[test]
fn faults_can_be_listed_and_an_unknown_fault_is_no_success() {
    let env = TestEnv::new(VMLAB);
    let ended = env.run(&["selftest", "faults", "--list"]);
    ended.exits(exit::OK);
    assert!(
        ended.stdout.lines().any(|line| line.starts_with("null-dereference ") && line.contains("CRASH 3")),
        "{ended}"
    );
    env.run(&["selftest", "faults", "no-such-fault"]).exits(exit::NOTHING_RAN);
}
