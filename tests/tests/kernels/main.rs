//! Stock Debian kernels in a real QEMU: 6.1, with virtio as modules, and 6.12, with virtio built in. They are fetched as
//! a user's are, through apt, into a cache that all tests here share and that stays from one `cargo test` to the next.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_image::guest_init;
use vmlab_protocol::message::Hello;
use vmlab_tests::bench::{Bench, Running};
use vmlab_tests::lab::{self, Outcome};

mod evidence;
mod forks;
mod no_boot;
mod sandbox;
mod together;

const VMLAB: &str = env!("CARGO_BIN_EXE_vmlab-under-test");
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/vmlab-cache");

/// Virtio as modules.
const BOOKWORM: &str = "debian:bookworm";
/// Virtio built in.
const TRIXIE: &str = "debian:trixie";

const ONLY_HOSTNAME: &str = "=uts.hostname";

/// A bench that uses the shared cache, with both kernels in it.
fn bench() -> Bench {
    static FETCHED: OnceLock<()> = OnceLock::new();
    FETCHED.get_or_init(|| {
        // Two at once: where the cache is cold, as on a fresh clone, one of them fetches and the other one waits.
        let benches = [with_cache(Path::new(CACHE)), with_cache(Path::new(CACHE))];
        let running = benches.each_ref().map(|bench| bench.start(&["kernel", "fetch", BOOKWORM, TRIXIE]));
        for running in running {
            running.wait().exits(exit::OK);
        }
        let staging = Path::new(CACHE).join("vmlab/kernels/staging");
        assert_eq!(fs::read_dir(staging).into_iter().flatten().count(), 0, "a fetch leaves nothing half-done");
    });
    with_cache(Path::new(CACHE))
}

/// A bench that uses a certain cache, and the QEMU and the mirrors that this machine's user has named.
fn with_cache(cache: &Path) -> Bench {
    let named = ["VMLAB_QEMU", "VMLAB_DEBIAN_MIRROR", "VMLAB_DEBIAN_SECURITY_MIRROR"];
    let named = named.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    named.fold(Bench::new(VMLAB).env("XDG_CACHE_HOME", cache), |bench, (name, value)| bench.env(name, value))
}

fn events_file(bench: &Bench) -> PathBuf {
    bench.home().join("events.jsonl")
}

/// The arguments of a run, with a JSON report.
fn arguments(bench: &Bench, more: &[&str]) -> Vec<String> {
    let report = format!("json={}", events_file(bench).display());
    let mut all = ["run", "--offline", "--report", "human", "--report", &report].map(str::to_owned).to_vec();
    all.extend(more.iter().map(|word| (*word).to_owned()));
    all
}

/// Runs vmlab to its end, and sees to it that all is as after any run.
fn run(bench: &Bench, more: &[&str]) -> Outcome {
    let ended = bench.run(&arguments(bench, more));
    Outcome::of(bench, &events_file(bench), ended)
}

/// What the guests said of themselves, in the order in which they did.
fn hellos(outcome: &Outcome) -> Vec<&Hello> {
    let hellos = outcome.events.iter().filter_map(|stamped| match &stamped.event {
        LabEvent::GuestReady { hello, .. } => Some(&**hello),
        _ => None,
    });
    hellos.collect()
}

/// The boot ids that the guests which ran scenarios have told.
fn boot_ids(outcome: &Outcome) -> BTreeSet<String> {
    let ids = outcome.events.iter().filter_map(|stamped| match &stamped.event {
        LabEvent::GuestReady { boot_id, .. } => boot_id.clone(),
        _ => None,
    });
    ids.collect()
}

#[test]
fn the_whole_catalogue_on_two_kernels() {
    let bench = bench();
    let outcome = run(&bench, &["--isolation", "shared", "--kernel", BOOKWORM, "--kernel", TRIXIE]);
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
    // One guest for each kernel is enough, and each is what was asked for.
    assert_eq!(outcome.guests(), 2);
    for hello in hellos(&outcome) {
        let modules: BTreeSet<_> = hello.modules.iter().map(String::as_str).collect();
        let loaded = modules.contains("/modules/virtio_console.ko");
        assert_eq!(loaded, hello.kernel_release.starts_with("6.1."), "{hello:?}");
        assert_eq!(hello.problems, [""; 0]);
    }
}

#[test]
fn a_fresh_boot_for_each_scenario() {
    let bench = bench();
    let outcome = run(&bench, &["--kernel", TRIXIE, "--isolation", "boot", ONLY_HOSTNAME, "=pid.proc"]);
    outcome.exits(exit::OK).has("uts.hostname", "PASS", "").has("pid.proc", "PASS", "");
    assert_eq!(boot_ids(&outcome).len(), 2, "{}", outcome.ended);
}

#[test]
fn several_processors() {
    let bench = bench();
    let outcome = run(&bench, &["--kernel", BOOKWORM, "--cpus", "2", "cgroup"]);
    outcome.exits(exit::OK);
    // The template's guest and its forks.
    let cpus: Vec<_> = hellos(&outcome).iter().map(|hello| hello.cpus).collect();
    assert!(cpus.len() > 1 && cpus.iter().all(|&count| count == 2), "{cpus:?}");
}

/// A run that has got as far as a guest of its own.
fn booting(bench: &Bench) -> Running {
    let mut running = bench.start(&arguments(bench, &["--kernel", TRIXIE]));
    running.until("QEMU", || {
        let started = |event: &LabEvent| matches!(event, LabEvent::GuestStarting { .. });
        let told = lab::events(&events_file(bench)).iter().any(|stamped| started(&stamped.event));
        let there = bench.processes().iter().any(|process| process.command.contains("-chardev"));
        (told && there).then_some(())
    });
    running
}

#[test]
fn an_interrupt_during_a_real_boot_leaves_no_qemu() {
    let bench = bench();
    let running = booting(&bench);
    running.signal(Signal::SIGINT);
    let outcome = Outcome::of(&bench, &events_file(&bench), running.wait());
    outcome.exits(exit::INTERRUPTED).has("uts.hostname", "NOT-RUN", "interrupted");
}

#[test]
fn a_killed_vmlab_takes_a_real_qemu_along() {
    let bench = bench();
    let running = booting(&bench);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.wait().status.code(), None);
    assert_eq!(bench.outliving(), []);
}
