//! Runs a KUnit suite of the kernel and prints its results, both through debugfs (the kernel's
//! Documentation/dev-tools/kunit/run_manual.rst): `results` since 5.8, `run` since 6.8.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use vmlab_protocol::message::{Leg, LegOutcome};

use crate::sandbox::{During as _, Probe, Trouble};

const DEBUGFS: &str = "/sys/kernel/debug";

/// Runs one leg of a suite in the calling process. The results go to standard output as the kernel prints them.
#[must_use]
pub(crate) fn run_leg(suite: &str, leg: Leg) -> LegOutcome {
    let dir = Path::new(DEBUGFS).join("kunit").join(suite);
    let outcome = match leg {
        Leg::Probe => probe(&dir),
        Leg::Subject => run(&dir),
        Leg::Control => Err(Trouble::new("a KUnit suite has no control leg")),
    };
    outcome.unwrap_or_else(|trouble| LegOutcome::Failed { detail: trouble.into_text() })
}

/// Looks for the suite.
fn probe(dir: &Path) -> Result<LegOutcome, Trouble> {
    if let Probe::Missing(evidence) = mount_debugfs()? {
        return Ok(LegOutcome::Missing { evidence });
    }
    let results = results(dir);
    if !results.try_exists().during(format!("stat {}", results.display()))? {
        // The same text for each suite, because reports group skips by their reason.
        return Ok(LegOutcome::Missing { evidence: format!("the suite has no results below {DEBUGFS}/kunit") });
    }
    Ok(LegOutcome::Available)
}

/// Runs the suite if it has not run at boot and the kernel can run it now, and prints its results. A suite that ran at boot is
/// not run again: code that it tests may be gone (`__init`), and not every suite can run twice.
fn run(dir: &Path) -> Result<LegOutcome, Trouble> {
    if let Probe::Missing(evidence) = mount_debugfs()? {
        return Err(Trouble::new(evidence));
    }
    let start = dir.join("run");
    // Suites that test the boot itself (kunit_test_init_section_suites) have no such file either.
    let has_run = has_results(&fs::read_to_string(results(dir)).during("read the suite's results")?);
    if !has_run && start.try_exists().during(format!("stat {}", start.display()))? {
        // The write returns when the suite has ended.
        fs::write(&start, "1").during(format!("write to {}", start.display()))?;
    }
    print(&results(dir))?;
    Ok(LegOutcome::Reported)
}

/// Mounts debugfs in a mount namespace of this process, so that scenarios in the same guest do not see it.
fn mount_debugfs() -> Result<Probe, Trouble> {
    unshare(CloneFlags::CLONE_NEWNS).during("unshare(CLONE_NEWNS)")?;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).during("mount(/, MS_REC | MS_PRIVATE)")?;
    match mount(Some("debugfs"), DEBUGFS, Some("debugfs"), MsFlags::empty(), None::<&str>) {
        Ok(()) => Ok(Probe::Available),
        // The directory in sysfs and the file system both come with CONFIG_DEBUG_FS.
        Err(errno @ (Errno::ENODEV | Errno::ENOENT)) => Ok(Probe::Missing(format!("mount(debugfs): {errno:?}"))),
        Err(error) => Err(error).during(format!("mount(debugfs) on {DEBUGFS}")),
    }
}

/// Whether results have that of a test, which is indented; debugfs prints a result of the suite in any case.
fn has_results(results: &str) -> bool {
    let is_of_test = |line: &str| {
        let words = line.trim_start();
        words.len() < line.len() && (words.starts_with("ok ") || words.starts_with("not ok "))
    };
    results.lines().any(is_of_test)
}

fn results(dir: &Path) -> PathBuf {
    dir.join("results")
}

fn print(results: &Path) -> Result<(), Trouble> {
    let mut file = File::open(results).during(format!("open {}", results.display()))?;
    io::copy(&mut file, &mut io::stdout().lock()).during(format!("copy {}", results.display())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_a_suite_alone_does_not_mean_that_it_ran() {
        let head = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: example\n    1..1\n";
        assert!(!has_results(&format!("{head}ok 1 example\n")));
        assert!(has_results(&format!("{head}    ok 1 test\nok 1 example\n")));
        assert!(has_results(&format!("{head}    not ok 1 test\nnot ok 1 example\n")));
        assert!(has_results("\tok 1 - test\n"));
    }
}
