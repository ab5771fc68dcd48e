//! Kernels that cannot be fetched. All mirrors are on this machine; no test here needs a network.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;

use nix::sys::signal::Signal;
use vmlab_events::exit;
use vmlab_tests::env::TestEnv;

use crate::{FAKE_QEMU, VMLAB, is_refused, lab, leaves_nothing};

/// An environment with a QEMU that prints its version, and with this mirror. apt gets no proxy that could reach other
/// machines.
fn env(mirror: &str) -> TestEnv {
    lab().env.env("VMLAB_DEBIAN_MIRROR", mirror).env("no_proxy", "127.0.0.1")
}

const RUN: [&str; 8] = ["run", "--accel", "tcg", "--qemu", FAKE_QEMU, "--kernel", "debian:trixie", "uts"];

#[test]
fn a_mirror_that_cannot_be_reached_is_named() {
    // The port was free a moment ago, so no program listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let env = env(&format!("http://127.0.0.1:{port}"));
    let words =
        ["debian:trixie: no network, or the mirror cannot be reached", "a kernel in the cache needs no network"];
    is_refused(&env, &env.run(&RUN), exit::LAB, &words);
}

#[test]
fn offline_a_missing_kernel_is_reported_without_network() {
    let env = env("http://127.0.0.1:9");
    let ended = env.run(&[&RUN[..], &["--offline"]].concat());
    is_refused(&env, &ended, exit::LAB, &["debian:trixie is not in the cache", "`vmlab kernel fetch debian:trixie`"]);
}

#[test]
fn a_suite_that_the_mirror_lacks_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let env = env(&format!("file:{}", home.path().display()));
    let mut arguments = RUN;
    arguments[6] = "debian:nosuchsuite";
    let words = ["the mirror has no suite `nosuchsuite`; check its spelling (`vmlab kernel list`"];
    is_refused(&env, &env.run(&arguments), exit::USAGE, &words);
}

#[test]
fn a_mirror_that_is_no_url_is_refused() {
    let env = env("somewhere");
    let words = ["VMLAB_DEBIAN_MIRROR is `somewhere`, which is not the URL of a mirror: expected for example"];
    is_refused(&env, &env.run(&RUN), exit::USAGE, &words);
}

#[test]
fn a_machine_without_apt_is_refused() {
    let env = env("http://127.0.0.1:9").env("PATH", "/no/such/dir");
    is_refused(&env, &env.run(&RUN), exit::LAB, &["is not installed", "install apt"]);
}

#[test]
fn an_interrupted_fetch_leaves_nothing() {
    // A mirror that accepts the connection and never answers.
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let env = env(&format!("http://{}", mirror.local_addr().unwrap()));
    mirror.set_nonblocking(true).unwrap();
    let mut running = env.start(&RUN);
    let connection = running.until("apt's call", || mirror.accept().ok());
    running.signal(Signal::SIGINT);
    let ended = running.wait();
    is_refused(&env, &ended, exit::INTERRUPTED, &["interrupted; no partial files were left behind"]);
    let staging: Vec<_> = fs::read_dir(env.cache().join("vmlab/kernels/staging")).unwrap().flatten().collect();
    assert!(staging.is_empty(), "{staging:?}");
    drop(connection);
}

#[test]
fn a_killed_fetch_leaves_no_process_and_the_next_fetch_removes_its_files() {
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let env = env(&format!("http://{}", mirror.local_addr().unwrap()));
    mirror.set_nonblocking(true).unwrap();
    let mut running = env.start(&RUN);
    let connection = running.until("apt's call", || mirror.accept().ok());
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().status.signal(), Some(9));
    assert_eq!(env.outliving(), []);
    drop((connection, mirror));
    env.run(&RUN).exits(exit::LAB);
    leaves_nothing(&env);
}

#[test]
fn two_vmlabs_that_wait_for_the_same_kernel_can_both_be_interrupted() {
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let env = env(&format!("http://{}", mirror.local_addr().unwrap()));
    mirror.set_nonblocking(true).unwrap();
    let mut first = env.start(&RUN);
    let connection = first.until("apt's call", || mirror.accept().ok());
    let mut second = env.start(&RUN);
    second.until("the other's lock", || second_waits(&env).then_some(()));
    second.signal(Signal::SIGINT);
    second.wait().exits(exit::INTERRUPTED);
    first.signal(Signal::SIGINT);
    first.wait().exits(exit::INTERRUPTED);
    leaves_nothing(&env);
    drop(connection);
}

fn second_waits(env: &TestEnv) -> bool {
    fs::read_to_string(env.home().join("stderr-2")).unwrap_or_default().contains("waiting for another vmlab")
}

#[test]
fn a_qemu_that_does_not_exist_is_refused_with_the_default_kernel_too() {
    let env = TestEnv::new(VMLAB);
    let ended = env.run(&["run", "--offline", "--accel", "tcg", "--qemu", "/no/such/qemu"]);
    is_refused(&env, &ended, exit::LAB, &["/no/such/qemu"]);
}
