//! What bad input gets: one paragraph that names the thing and the remedy, the right exit code, nothing left behind and
//! nothing alive.
#![expect(clippy::unwrap_used, reason = "what is not as expected ends the test")]

use std::process::Command;

use vmlab_events::exit;
use vmlab_tests::bench::{Bench, Ended};
use vmlab_tests::fake::script::Guest;
use vmlab_tests::lab::{self, FakeLab};

mod dirs;
mod fetch;
mod kernel_files;
mod output;
mod words;

const VMLAB: &str = env!("CARGO_BIN_EXE_vmlab-under-test");
const FAKE_QEMU: &str = env!("CARGO_BIN_EXE_fake-qemu");

/// The usual scenario for runs that get as far as one.
const ONLY_HOSTNAME: &str = "=uts.hostname";

/// A lab whose one guest would pass.
fn lab() -> FakeLab {
    FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::good()])
}

/// Sees to it that a command was refused as bad input is: `code`, one paragraph with all of `words`, at the end of
/// standard error; what comes before it there is progress.
fn is_refused(bench: &Bench, ended: &Ended, code: u8, words: &[&str]) {
    ended.exits(code);
    let stderr = ended.stderr.trim_end();
    let paragraph = match stderr.split_once("error: ") {
        // clap's own: the paragraph, an empty line, and where the help is.
        Some(("", rest)) => {
            let (paragraph, help) = rest.split_once("\n\n").unwrap_or((rest, ""));
            assert!(help.contains("--help"), "{ended}");
            paragraph
        }
        _ => {
            let last = stderr.lines().last().unwrap_or_default();
            assert!(last.starts_with("vmlab: "), "{ended}");
            last
        }
    };
    assert_eq!(paragraph.lines().count(), 1, "one paragraph: {ended}");
    assert_eq!(
        ended.stderr.matches("vmlab: ").count(),
        usize::from(!stderr.starts_with("error: ")),
        "told once: {ended}"
    );
    for words in words {
        assert!(paragraph.contains(words), "{words:?} is missing: {ended}");
    }
    leaves_nothing(bench);
}

/// Nothing runs, and nothing half-done is in the cache: images and facts are whole or not there, and a lock's file
/// stays.
fn leaves_nothing(bench: &Bench) {
    assert_eq!(bench.outliving(), []);
    let stays = |name: &String| name.starts_with("vmlab/kernels/locks/") || lab::is_lasting(name);
    let left: Vec<_> = bench.cached_files().into_iter().filter(|name| !stays(name)).collect();
    assert_eq!(left, [""; 0], "left in the cache");
}

/// Runs a lab's command line in a mount namespace of its own, where `set_up`, a line of shell, has mounted something.
/// None where this user may make no such namespace.
fn in_mounts(lab: &FakeLab, set_up: &str, more: &[&str]) -> Option<Ended> {
    let root = nix::unistd::geteuid().is_root();
    let options: &[&str] = if root { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let probe = Command::new("unshare").args(options).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mut command = lab.bench.command("unshare");
    command.args(options).args(["sh", "-c", &format!("{set_up} && exec \"$0\" \"$@\""), VMLAB]);
    command.args(lab.arguments(more));
    Some(lab.bench.start_command(command).wait())
}

#[test]
fn the_refusals_are_checked_for_what_they_promise() {
    let bench = Bench::new(VMLAB);
    let ended = bench.run(&["run", "no-such-scenario"]);
    is_refused(&bench, &ended, exit::NOTHING_RAN, &["no-such-scenario"]);
    let lacking = std::panic::catch_unwind(|| {
        is_refused(&Bench::new(VMLAB), &ended, exit::NOTHING_RAN, &["words that are not there"]);
    });
    assert!(lacking.is_err());
}
