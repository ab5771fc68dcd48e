//! Bad input is refused with one paragraph that names the input and the remedy, and with the right exit code. vmlab leaves no
//! file and no process.
#![expect(clippy::unwrap_used, reason = "a failure ends the test")]

use std::process::Command;

use vmlab_events::exit;
use vmlab_tests::env::{Ended, TestEnv};
use vmlab_tests::fake::script::Guest;
use vmlab_tests::lab::{self, FakeLab};

mod arguments;
mod dirs;
mod fetch;
mod kernel_files;
mod output;

const VMLAB: &str = env!("CARGO_BIN_EXE_vmlab-under-test");
const FAKE_QEMU: &str = env!("CARGO_BIN_EXE_fake-qemu");

/// The filter of the scenario for runs that start.
const ONLY_HOSTNAME: &str = "=uts.hostname";

/// A lab with one guest, which passes.
fn lab() -> FakeLab {
    FakeLab::new(VMLAB, FAKE_QEMU, vec![Guest::good()])
}

/// Checks that a command was refused: exit code `code`, and one paragraph with all of `texts` at the end of standard error,
/// after progress messages only.
fn is_refused(env: &TestEnv, ended: &Ended, code: u8, texts: &[&str]) {
    ended.exits(code);
    let stderr = ended.stderr.trim_end();
    let paragraph = match stderr.split_once("error: ") {
        // clap's errors have the paragraph, an empty line, and a hint at the help.
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
        "reported once: {ended}"
    );
    for text in texts {
        assert!(paragraph.contains(text), "{text:?} is missing: {ended}");
    }
    leaves_nothing(env);
}

/// Checks that no process runs, and that the cache has only complete entries and lock files.
fn leaves_nothing(env: &TestEnv) {
    assert_eq!(env.outliving(), []);
    let stays = |name: &String| name.starts_with("vmlab/kernels/locks/") || lab::is_lasting(name);
    let left: Vec<_> = env.cached_files().into_iter().filter(|name| !stays(name)).collect();
    assert_eq!(left, [""; 0], "left in the cache");
}

/// Runs a lab's command line in a mount namespace of its own, after the shell command `set_up`. None: this user cannot make a
/// mount namespace.
fn in_mounts(lab: &FakeLab, set_up: &str, more: &[&str]) -> Option<Ended> {
    let root = nix::unistd::geteuid().is_root();
    let options: &[&str] = if root { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let probe = Command::new("unshare").args(options).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mut command = lab.env.command("unshare");
    command.args(options).args(["sh", "-c", &format!("{set_up} && exec \"$0\" \"$@\""), VMLAB]);
    command.args(lab.arguments(more));
    Some(lab.env.start_command(command).wait())
}

#[test]
fn is_refused_fails_if_a_text_is_missing() {
    let env = TestEnv::new(VMLAB);
    let ended = env.run(&["run", "no-such-scenario"]);
    is_refused(&env, &ended, exit::NOTHING_RAN, &["no-such-scenario"]);
    let lacking = std::panic::catch_unwind(|| {
        is_refused(&TestEnv::new(VMLAB), &ended, exit::NOTHING_RAN, &["a text that is missing"]);
    });
    assert!(lacking.is_err());
}
