//! Forks of a template: a guest of its own for each scenario.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use vmlab_events::event::{JobReport, LabEvent};
use vmlab_events::exit;
use vmlab_tests::env::TestEnv;
use vmlab_tests::outcome::Outcome;

use super::{BOOKWORM, TRIXIE, boot_ids, run, with_cache};

/// An environment with a cache of its own, which has the kernels but no template.
pub(crate) fn env_without_templates() -> (TestEnv, tempfile::TempDir) {
    drop(super::env());
    let cache = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let from = PathBuf::from(super::CACHE).join("vmlab");
    let to = cache.path().join("vmlab");
    fs::create_dir(&to).unwrap();
    let copied = std::process::Command::new("cp").arg("-al").arg(from.join("kernels")).arg(&to).status().unwrap();
    assert!(copied.success());
    (with_cache(cache.path()), cache)
}

/// How the guests were started, in order.
fn starts(outcome: &Outcome) -> Vec<&str> {
    let starts = outcome.events.iter().filter_map(|stamped| match &stamped.event {
        LabEvent::GuestStarting { start, .. } => Some(start.as_str()),
        _ => None,
    });
    starts.collect()
}

/// The bytes that the legs have read from getrandom(2).
fn drawn(report: &JobReport) -> Vec<String> {
    report.stdout.lines().filter_map(|line| line.strip_prefix("getrandom: ")).map(str::to_owned).collect()
}

#[test]
fn forks_draw_their_own_entropy_and_boot_ids() {
    let (env, _cache) = env_without_templates();
    let kernels = ["--kernel", BOOKWORM, "--kernel", TRIXIE, "=lab.fresh-guest", "=uts.hostname"];
    let first = run(&env, &kernels);
    first.exits(exit::OK);
    assert_eq!(starts(&first).iter().filter(|start| **start == "template").count(), 2, "{}", first.ended);
    let second = run(&env, &kernels);
    second.exits(exit::OK);
    assert_eq!(starts(&second), ["thaw"; 4], "the templates are there: {}", second.ended);
    let third = run(&env, &[&kernels[..], &["--fork-method", "restore"]].concat());
    third.exits(exit::OK);
    assert_eq!(starts(&third), ["fork"; 4], "{}", third.ended);
    // Three runs with two scenarios on two kernels have 12 guests. One of the scenarios reads entropy, in its subject and
    // in its control: 12 times in all.
    let runs = [&first, &second, &third];
    let ids: BTreeSet<_> = runs.into_iter().flat_map(boot_ids).collect();
    assert_eq!(ids.len(), 12, "boot ids");
    let all: Vec<_> = runs.into_iter().flat_map(Outcome::reports).flat_map(drawn).collect();
    assert_eq!(all.len(), 12, "{all:?}");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 12, "{all:?}");
}

#[test]
fn a_damaged_template_is_detected_and_replaced() {
    let (env, cache) = env_without_templates();
    let only = ["--kernel", TRIXIE, "=uts.hostname"];
    run(&env, &only).exits(exit::OK);
    let templates = cache.path().join("vmlab/templates");
    let template = fs::read_dir(&templates).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let mut ram = File::options().write(true).open(template.unwrap().join("ram")).unwrap();
    ram.seek(SeekFrom::Start(20 << 20)).unwrap();
    ram.write_all(b"a bit of harm").unwrap();
    drop(ram);
    let mended = run(&env, &only);
    mended.exits(exit::OK);
    assert_eq!(starts(&mended), ["template", "thaw"], "{}", mended.ended);
    assert!(mended.ended.stdout.contains("the template was damaged"), "{}", mended.ended);
    assert_eq!(starts(&run(&env, &only)), ["thaw"]);
}

/// The sysctl of a PID namespace (since 6.3). 2: no program can be executed from memory.
const MEMFD_NOEXEC: &str = "/proc/sys/vm/memfd_noexec";

#[test]
fn where_no_program_can_be_executed_from_memory_forks_are_restored() {
    if !Path::new(MEMFD_NOEXEC).exists() {
        eprintln!("not tested: this machine's kernel has no {MEMFD_NOEXEC}");
        return;
    }
    let (env, _cache) = env_without_templates();
    let report = super::events_file(&env);
    let script = format!(
        "echo 2 >{MEMFD_NOEXEC} && exec {} run --offline -k {TRIXIE} =uts.hostname --report human --report json={}",
        env.program().display(),
        report.display()
    );
    for (notes, expected) in [(1, &["template", "fork"][..]), (0, &["fork"])] {
        let mut command = env.command("unshare");
        command.args(["--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]);
        let outcome = Outcome::of(&env, &report, env.start_command(command).wait());
        outcome.exits(exit::OK);
        assert_eq!(starts(&outcome), expected, "{}", outcome.ended);
        let said = outcome.notices().filter(|text| text.contains("forks load a saved state")).count();
        assert_eq!(said, notes, "{}", outcome.ended);
    }
}
