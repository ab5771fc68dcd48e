//! KVM for real, wherever the tests run: in a guest of `vmlab exec --nested`, whose processor has SVM, emulated if need be.

#![expect(clippy::panic, reason = "a failed step of a test is a failed test")]

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// Some guests of a guest, on an emulated machine that is some ten times slower; other tests may share the processors.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// A step of the script: what it printed, and its exit code.
type Step = (String, i32);

/// Divides the script's output into steps.
fn steps(output: &str) -> BTreeMap<String, Step> {
    let mut steps = BTreeMap::new();
    let mut printed = String::new();
    for line in output.lines() {
        if let Some((name, code)) = line.strip_prefix("== ").and_then(|rest| rest.split_once(' ')) {
            let code = code.parse().unwrap_or_else(|_| panic!("not an exit code: {line}"));
            steps.insert(name.to_owned(), (std::mem::take(&mut printed), code));
        } else {
            printed.push_str(line);
            printed.push('\n');
        }
    }
    steps
}

/// What a step `look` printed: the time in the guest that started a fork, the fork's uptime, the time in the fork, and its clock source.
fn look(step: &Step) -> (f64, f64, f64, &str) {
    let lines: Vec<_> = step.0.lines().collect();
    let [outside, uptime, inside, source] = lines[..] else { panic!("four lines: {step:?}") };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("not a number: {step:?}"));
    let uptime = uptime.split(' ').next().unwrap_or_default();
    (number(outside), number(uptime), number(inside), source)
}

#[test]
fn under_kvm_guests_boot_and_fork_and_crash_and_have_the_right_time() {
    let env = env();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernels/programs/kvm.sh");
    let mut command = env.command(env.program());
    command.args(["exec", "-k", TRIXIE, "--nested", "--memory", "4000", "--share", CACHE, "--share", script, "--"]);
    command.args(["sh", script]).arg(env.program()).arg(TRIXIE);
    let ended = env.start_command(command).wait_within(LIMIT);
    let steps = steps(&ended.stdout);
    let step = |name: &str, code: i32, parts: &[&str]| {
        let step = steps.get(name).unwrap_or_else(|| panic!("no step {name}: {ended}"));
        assert_eq!(step.1, code, "{name}: {ended}");
        for part in parts {
            assert!(step.0.contains(part), "{name} does not say {part}: {ended}");
        }
        step
    };
    step("asked", 0, &["with kvm", "FORK", "2 scenarios on 1 kernel: 2 passed"]);
    step("auto", 0, &["using KVM", "FORK", "1 passed"]);
    step("boot", 0, &["using KVM", "BOOT", "1 passed"]);
    step("thaw", 0, &["forks are restored, not thawed: what a QEMU under KVM has", "FORK", "1 passed"]);
    step("crash", 125, &[]);
    step("dump", 0, &["177   E   L   F"]);
    let (outside, uptime, inside, source) = look(step("look", 0, &[]));
    let (outside_again, uptime_again, inside_again, _) = look(step("again", 0, &[]));
    // Forks of one template, with several boots between them. Their monotonic clock goes on where the template's stopped.
    assert!(uptime_again - uptime < (outside_again - outside) / 2.0, "{ended}");
    // The wall clock has whole seconds, and a fork gets it before its job starts.
    assert!(inside >= outside && inside_again >= outside_again, "{ended}");
    assert!(inside < outside_again, "{ended}");
    assert_eq!(source, "kvm-clock", "{ended}");
    ended.exits(0);
}
