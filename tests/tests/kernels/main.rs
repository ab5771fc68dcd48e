//! Stock Debian kernels in a real QEMU: 6.1, with virtio as modules, and 6.12, with virtio built in. They are fetched through
//! apt into a cache that all tests here share, and that remains for the next `cargo test`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_image::guest_init;
use vmlab_protocol::message::Hello;
use vmlab_tests::env::{Process, Running, TestEnv, events_so_far};
use vmlab_tests::outcome::Outcome;

mod built;
mod commands;
mod copies;
mod evidence;
mod forks;
mod kvm;
mod machines;
mod messages;
mod mutations;
mod no_boot;
mod runners;
mod sandbox;
mod storm;
mod terminals;
mod together;

const VMLAB: &str = env!("CARGO_BIN_EXE_vmlab-under-test");
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/vmlab-cache");

/// A kernel with virtio as modules.
const BOOKWORM: &str = "debian:bookworm";
/// A kernel with virtio built in.
const TRIXIE: &str = "debian:trixie";

const ONLY_HOSTNAME: &str = "=uts.hostname";

/// An environment that uses the shared cache, with both kernels in it.
fn env() -> TestEnv {
    static FETCHED: OnceLock<()> = OnceLock::new();
    FETCHED.get_or_init(|| {
        // Two vmlabs at once: with an empty cache, as on a fresh clone, one vmlab fetches and the other waits.
        let envs = [with_cache(Path::new(CACHE)), with_cache(Path::new(CACHE))];
        let running = envs.each_ref().map(|env| env.start(&["kernel", "fetch", BOOKWORM, TRIXIE]));
        for running in running {
            running.wait().exits(exit::OK);
        }
        let staging = Path::new(CACHE).join("vmlab/kernels/staging");
        assert_eq!(fs::read_dir(staging).into_iter().flatten().count(), 0, "a fetch leaves nothing half-done");
    });
    with_cache(Path::new(CACHE))
}

/// An environment with this cache, and with the QEMU and the mirrors that the user of this machine has named.
fn with_cache(cache: &Path) -> TestEnv {
    let named = ["VMLAB_QEMU", "VMLAB_DEBIAN_MIRROR", "VMLAB_DEBIAN_SECURITY_MIRROR"];
    let named = named.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    named.fold(TestEnv::new(VMLAB).env("XDG_CACHE_HOME", cache), |env, (name, value)| env.env(name, value))
}

fn events_file(env: &TestEnv) -> PathBuf {
    env.home().join("events.jsonl")
}

/// The arguments of a run, with a JSON report.
fn arguments(env: &TestEnv, more: &[&str]) -> Vec<String> {
    let report = format!("json={}", events_file(env).display());
    let mut all = ["run", "--offline", "--report", "human", "--report", &report].map(str::to_owned).to_vec();
    all.extend(more.iter().map(|word| (*word).to_owned()));
    all
}

/// Runs vmlab to its end, and checks what must hold after every run.
fn run(env: &TestEnv, more: &[&str]) -> Outcome {
    let ended = env.run(&arguments(env, more));
    Outcome::of(env, &events_file(env), ended)
}

/// The hellos of all guests, in order.
fn hellos(outcome: &Outcome) -> Vec<&Hello> {
    let hellos = outcome.events.iter().filter_map(|stamped| match &stamped.event {
        LabEvent::GuestReady { hello, .. } => Some(&**hello),
        _ => None,
    });
    hellos.collect()
}

/// The boot ids of the guests that ran scenarios.
fn boot_ids(outcome: &Outcome) -> BTreeSet<String> {
    let ids = outcome.events.iter().filter_map(|stamped| match &stamped.event {
        LabEvent::GuestReady { boot_id, .. } => boot_id.clone(),
        _ => None,
    });
    ids.collect()
}

#[test]
fn the_whole_catalogue_passes_or_is_skipped_with_a_reason_on_two_kernels() {
    let env = env();
    let outcome = run(&env, &["--isolation", "shared", "--kernel", BOOKWORM, "--kernel", TRIXIE]);
    outcome.exits(exit::OK);
    for report in outcome.reports() {
        let (word, detail) = (report.verdict.label(), report.verdict.detail());
        let explained = detail.contains("needs CONFIG_") || detail.contains("needs Linux");
        assert!(matches!(word, "PASS" | "LEAK") || word == "SKIP" && explained, "{report:?}");
    }
    let count = guest_init::catalogue().unwrap().len();
    let ran =
        |kernel: &str| outcome.reports().filter(|r| r.target.as_str() == kernel && r.verdict.label() != "SKIP").count();
    assert!(ran(BOOKWORM) > count / 2 && ran(TRIXIE) > count / 2, "most of it runs: {}", outcome.ended);
    // For each kernel a guest on each machine, and two for each scenario that runs in two.
    let in_pairs = guest_init::catalogue().unwrap().iter().filter(|spec| spec.machine.peer).count();
    assert_eq!(outcome.guests(), 2 * (2 + 2 * in_pairs));
    for hello in hellos(&outcome) {
        let modules: BTreeSet<_> = hello.modules.iter().map(String::as_str).collect();
        let loaded = modules.contains("/modules/virtio_console.ko");
        assert_eq!(loaded, hello.kernel_release.starts_with("6.1."), "{hello:?}");
        assert_eq!(hello.problems, [""; 0]);
    }
}

#[test]
fn isolation_boot_boots_a_guest_for_each_scenario() {
    let env = env();
    let outcome = run(&env, &["--kernel", TRIXIE, "--isolation", "boot", ONLY_HOSTNAME, "=pid.proc"]);
    outcome.exits(exit::OK).has("uts.hostname", "PASS", "").has("pid.proc", "PASS", "");
    assert_eq!(boot_ids(&outcome).len(), 2, "{}", outcome.ended);
}

#[test]
fn a_guest_has_the_number_of_processors_that_was_asked_for() {
    let env = env();
    let outcome = run(&env, &["--kernel", BOOKWORM, "--cpus", "2", "cgroup"]);
    outcome.exits(exit::OK);
    // The template's guest and its forks.
    let cpus: Vec<_> = hellos(&outcome).iter().map(|hello| hello.cpus).collect();
    assert!(cpus.len() > 1 && cpus.iter().all(|&count| count == 2), "{cpus:?}");
}

/// What makes guests boot, and what makes them thaw.
const WAYS: [[&str; 2]; 2] = [["--isolation", "boot"], ["--fork-method", "thaw"]];

/// A run of all scenarios whose first guest has been started.
fn started(env: &TestEnv, way: [&str; 2]) -> Running {
    let mut running = env.start(&arguments(env, &[&["--kernel", TRIXIE][..], &way].concat()));
    running.until("QEMU", || {
        let started = |event: &LabEvent| matches!(event, LabEvent::GuestStarting { .. });
        let announced = events_so_far(&events_file(env)).iter().any(|stamped| started(&stamped.event));
        (announced && env.processes().iter().any(Process::is_guest)).then_some(())
    });
    running
}

#[test]
fn an_interrupt_while_a_guest_starts_leaves_no_qemu() {
    for way in WAYS {
        let env = env();
        let running = started(&env, way);
        running.signal(Signal::SIGINT);
        let outcome = Outcome::of(&env, &events_file(&env), running.wait());
        outcome.exits(exit::INTERRUPTED).has("uts.hostname", "NOT-RUN", "interrupted");
    }
}

#[test]
fn a_killed_vmlab_leaves_no_qemu() {
    for way in WAYS {
        let env = env();
        let running = started(&env, way);
        running.signal(Signal::SIGKILL);
        assert_eq!(running.wait().status.code(), None);
        assert_eq!(env.outliving(), []);
    }
}
