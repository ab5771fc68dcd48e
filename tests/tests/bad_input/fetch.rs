//! Kernels that cannot be fetched. The mirrors are on this machine; no test here needs a network.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;

use nix::sys::signal::Signal;
use vmlab_events::exit;
use vmlab_tests::bench::Bench;

use crate::{FAKE_QEMU, VMLAB, is_refused, lab, leaves_nothing};

/// With a QEMU that tells its version, and this mirror. What apt would use to get at other machines is not for it.
fn bench(mirror: &str) -> Bench {
    lab().bench.env("VMLAB_DEBIAN_MIRROR", mirror).env("no_proxy", "127.0.0.1")
}

const RUN: [&str; 8] = ["run", "--accel", "tcg", "--qemu", FAKE_QEMU, "--kernel", "debian:trixie", "uts"];

#[test]
fn no_network() {
    // A port that was free a moment ago; nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bench = bench(&format!("http://127.0.0.1:{port}"));
    let words =
        ["debian:trixie: no network, or the mirror cannot be reached", "a kernel in the cache needs no network"];
    is_refused(&bench, &bench.run(&RUN), exit::LAB, &words);
}

#[test]
fn no_network_is_needed_to_say_that_the_cache_has_none() {
    let bench = bench("http://127.0.0.1:9");
    let ended = bench.run(&[&RUN[..], &["--offline"]].concat());
    is_refused(&bench, &ended, exit::LAB, &["debian:trixie is not in the cache", "`vmlab kernel fetch debian:trixie`"]);
}

#[test]
fn a_suite_that_does_not_exist() {
    let home = tempfile::tempdir().unwrap();
    let bench = bench(&format!("file:{}", home.path().display()));
    let mut arguments = RUN;
    arguments[6] = "debian:nosuchsuite";
    let words = ["the mirror has no suite `nosuchsuite`; check its spelling (`vmlab kernel list`"];
    is_refused(&bench, &bench.run(&arguments), exit::USAGE, &words);
}

#[test]
fn a_mirror_that_is_no_address() {
    let bench = bench("somewhere");
    let words = ["VMLAB_DEBIAN_MIRROR is `somewhere`, which is not the URL of a mirror: expected for example"];
    is_refused(&bench, &bench.run(&RUN), exit::USAGE, &words);
}

#[test]
fn no_apt() {
    let bench = bench("http://127.0.0.1:9").env("PATH", "/no/such/dir");
    is_refused(&bench, &bench.run(&RUN), exit::LAB, &["is not installed", "install apt"]);
}

#[test]
fn an_interrupted_fetch_leaves_nothing() {
    // A mirror that takes the connection and never answers.
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = bench(&format!("http://{}", mirror.local_addr().unwrap()));
    mirror.set_nonblocking(true).unwrap();
    let mut running = bench.start(&RUN);
    let connection = running.until("apt's call", || mirror.accept().ok());
    running.signal(Signal::SIGINT);
    let ended = running.wait();
    is_refused(&bench, &ended, exit::INTERRUPTED, &["interrupted; nothing half-done was left behind"]);
    let staging: Vec<_> = fs::read_dir(bench.cache().join("vmlab/kernels/staging")).unwrap().flatten().collect();
    assert!(staging.is_empty(), "{staging:?}");
    drop(connection);
}

#[test]
fn a_killed_fetch_leaves_no_process_and_the_next_one_no_files() {
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = bench(&format!("http://{}", mirror.local_addr().unwrap()));
    mirror.set_nonblocking(true).unwrap();
    let mut running = bench.start(&RUN);
    let connection = running.until("apt's call", || mirror.accept().ok());
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().status.signal(), Some(9));
    assert_eq!(bench.outliving(), []);
    drop((connection, mirror));
    bench.run(&RUN).exits(exit::LAB);
    leaves_nothing(&bench);
}

#[test]
fn two_that_wait_for_the_same_kernel_can_both_be_interrupted() {
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = bench(&format!("http://{}", mirror.local_addr().unwrap()));
    mirror.set_nonblocking(true).unwrap();
    let mut first = bench.start(&RUN);
    let connection = first.until("apt's call", || mirror.accept().ok());
    let mut second = bench.start(&RUN);
    second.until("the other's lock", || second_waits(&bench).then_some(()));
    second.signal(Signal::SIGINT);
    second.wait().exits(exit::INTERRUPTED);
    first.signal(Signal::SIGINT);
    first.wait().exits(exit::INTERRUPTED);
    leaves_nothing(&bench);
    drop(connection);
}

fn second_waits(bench: &Bench) -> bool {
    fs::read_to_string(bench.home().join("stderr-2")).unwrap_or_default().contains("waiting for another vmlab")
}

#[test]
fn the_default_kernel_is_refused_alike() {
    let bench = Bench::new(VMLAB);
    let ended = bench.run(&["run", "--offline", "--accel", "tcg", "--qemu", "/no/such/qemu"]);
    is_refused(&bench, &ended, exit::LAB, &["/no/such/qemu"]);
}
