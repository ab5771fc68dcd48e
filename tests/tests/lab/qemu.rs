//! QEMU programs that are missing, too old, that die or hang, and a script that starts QEMU.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;
use vmlab_events::exit;
use vmlab_tests::UTS;
use vmlab_tests::env::Ended;
use vmlab_tests::fake::script::{Action, Guest, Version, hello};
use vmlab_tests::lab::FakeLab;

use crate::{FAKE_QEMU, HOSTNAME, ONLY_HOSTNAME, booted_then_good, lab};

/// Runs vmlab with a QEMU that it refuses, and checks that no guest was started and nothing is left.
fn refused(lab: &FakeLab) -> Ended {
    let ended = lab.env.run(&lab.arguments(&UTS));
    ended.exits(exit::LAB);
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "one paragraph: {ended}");
    assert!(ended.stderr.starts_with("vmlab: "), "{ended}");
    assert_eq!(lab.env.outliving(), []);
    assert_eq!(lab.env.cached_files(), [""; 0]);
    assert_eq!(lab.unclaimed(), [0], "no guest was started");
    ended
}

fn says(ended: &Ended, words: &[&str]) {
    for words in words {
        assert!(ended.stderr.contains(words), "{words:?} is missing: {ended}");
    }
}

fn version(version: Version) -> FakeLab {
    lab(vec![Guest::good()]).version(version)
}

#[test]
fn a_qemu_that_does_not_exist_is_refused() {
    let lab = lab(vec![Guest::good()]).qemu("/no/such/qemu".into());
    says(&refused(&lab), &["/no/such/qemu, set by --qemu as QEMU, does not exist", "use the one in PATH"]);
}

#[test]
fn a_machine_without_qemu_is_refused() {
    let lab = lab(vec![Guest::good()]);
    let kernel = lab.env.home().join("kernels/vmlinuz");
    let mut command = lab.env.command(crate::VMLAB);
    command.args(["run", "-k"]).arg(kernel).env("PATH", "/no/such/dir");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(exit::LAB)));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("QEMU is missing") && stderr.contains("vmlab doctor --fix"), "{stderr}");
}

#[test]
fn a_qemu_that_cannot_be_executed_is_refused() {
    let lab = lab(vec![Guest::good()]);
    let path = lab.file("qemu");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let lab = lab.qemu(path);
    says(&refused(&lab), &["cannot execute", "Permission denied", "reinstall the package qemu-system-x86"]);
}

#[test]
fn a_qemu_that_is_too_old_is_refused() {
    let lab = version(Version::Says("QEMU emulator version 4.2.1 (Debian 1:4.2-3ubuntu6)".to_owned()));
    says(&refused(&lab), &["is QEMU 4.2.1, but vmlab needs 6.0.0 or later; install a newer version"]);
}

#[test]
fn a_program_that_is_no_qemu_is_refused() {
    let lab = version(Version::Says("GNU bash, version 5.2.15".to_owned()));
    says(&refused(&lab), &["GNU bash, version 5.2.15", "so the program is not QEMU; name a qemu-system-x86_64"]);
}

#[test]
fn a_qemu_that_fails_to_print_its_version_is_refused() {
    let lab = version(Version::Dies { code: 127, stderr: "error while loading shared libraries".to_owned() });
    says(&refused(&lab), &["exit status: 127", "error while loading shared libraries", "reinstall"]);
}

#[test]
fn a_qemu_that_hangs_before_its_version_is_refused() {
    says(&refused(&version(Version::Hangs)), &["--version has not ended after 10 s; name another program"]);
}

#[test]
fn a_qemu_that_hangs_before_its_version_can_be_interrupted() {
    let lab = version(Version::Hangs);
    let mut running = lab.start(&UTS);
    running.until("QEMU", || lab.env.processes().iter().any(|p| p.command.ends_with("--version ")).then_some(()));
    running.signal(Signal::SIGINT);
    let ended = running.wait();
    ended.exits(exit::INTERRUPTED);
    assert_eq!(lab.env.outliving(), []);
}

#[test]
fn a_qemu_that_dies_at_start_is_quoted_on_one_line() {
    let words = ["x: -machine q35: unsupported machine type", "Use -machine help to list supported machines"];
    let mut actions: Vec<_> = words.iter().map(|words| Action::Stderr((*words).to_owned())).collect();
    actions.push(Action::Exit(1));
    let outcome = lab(vec![Guest::new(actions); 2]).run(&UTS);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", words[0]).has(HOSTNAME, "NO-BOOT", words[1]);
    assert!(!outcome.verdict(HOSTNAME).1.contains('\n'));
}

#[test]
fn a_qemu_that_prints_endless_errors_still_runs() {
    let actions = (0..4000).map(|n| Action::Stderr(format!("warning {n}: TCG doesn't support requested feature")));
    let guest = Guest::new(actions.chain([hello(), Action::ServeRest]).collect());
    lab(vec![guest]).run(&[ONLY_HOSTNAME, "--boot-timeout", "60"]).exits(exit::OK).has(HOSTNAME, "PASS", "");
}

#[test]
fn a_script_that_runs_qemu_as_its_child_leaves_no_qemu() {
    let lab = lab(vec![booted_then_good([]), Guest::good()]);
    let path = lab.script(&format!("{FAKE_QEMU} \"$@\"\nexit $?"));
    let lab = lab.qemu(path);
    lab.run(&[ONLY_HOSTNAME]).exits(exit::OK);

    // The same holds for a QEMU that hangs.
    let silent = crate::lab(vec![Guest::new(vec![Action::Hang])]);
    let path = silent.script(&format!("{FAKE_QEMU} \"$@\"\nexit $?"));
    let outcome = silent.qemu(path).run(&[ONLY_HOSTNAME, "--boot-timeout", "1"]);
    outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "--boot-timeout");
}

#[test]
fn a_script_that_starts_qemu_in_another_session_leaves_no_qemu() {
    for script in [
        "setsid QEMU \"$@\" & wait",
        "setsid -w QEMU \"$@\"",
        "[ \"$1\" != --version ] || exec QEMU \"$@\"; setsid -f QEMU \"$@\"; sleep 1000",
    ] {
        // One guest hangs, so that vmlab has to end it.
        let lab = crate::lab(vec![Guest::new(vec![Action::Hang])]);
        let path = lab.script(&script.replace("QEMU", FAKE_QEMU));
        let lab = lab.qemu(path);
        let outcome = lab.run(&[ONLY_HOSTNAME, "--boot-timeout", "1"]);
        outcome.exits(exit::LAB).has(HOSTNAME, "NO-BOOT", "--boot-timeout");
    }
}

#[test]
fn a_process_that_a_script_leaves_behind_delays_no_version() {
    let lab = crate::lab(vec![Guest::good()]);
    let path = lab.script(&format!("sleep 1000 &\nexec {FAKE_QEMU} \"$@\""));
    lab.qemu(path).run(&[ONLY_HOSTNAME]).exits(exit::OK).has(HOSTNAME, "PASS", "");
}

#[test]
fn a_process_that_vmlab_cannot_find_is_reported() {
    let lab = crate::lab(vec![Guest::good()]);
    let hidden = "env -u VMLAB_STARTED_BY setsid sleep 4";
    let path = lab.script(&format!("[ \"$1\" = --version ] || {hidden} &\nexec {FAKE_QEMU} \"$@\""));
    let outcome = lab.qemu(path).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::OK);
    let reported = outcome.notices().filter(|text| text.contains("started outlives its guest")).count();
    assert_eq!(reported, 1, "{}", outcome.ended);
}
