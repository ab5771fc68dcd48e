//! Confines the thread that answers a guest, so that a mistake in it opens nothing for writing.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use nix::sys::signal::SigSet;

/// The newest version of Landlock whose restrictions are used, where the host has it.
const LANDLOCK: ABI = ABI::V6;

/// Lets the calling thread only read files, and keeps signals from it.
///
/// A signal would interrupt the write of a reply. Landlock is a second line of defence: without it, the thread still opens
/// nothing for writing.
pub(crate) fn confine_thread() {
    if let Err(e) = SigSet::all().thread_block() {
        tracing::debug!("cannot keep signals from the thread that serves files: {e}");
    }
    match restrict() {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(status) => tracing::debug!("the host's Landlock confines the thread that serves files: {status:?}"),
        Err(e) => tracing::debug!("Landlock does not confine the thread that serves files: {e}"),
    }
}

fn restrict() -> Result<RulesetStatus, RulesetError> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    let ruleset = match PathFd::new("/") {
        Ok(root) => ruleset.add_rule(PathBeneath::new(root, reading))?,
        Err(e) => {
            tracing::debug!("cannot open / to permit reading below it: {e}");
            return Ok(RulesetStatus::NotEnforced);
        }
    };
    Ok(ruleset.restrict_self()?.ruleset)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_confined_thread_reads_files_and_writes_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let confined = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let status = restrict().unwrap();
                assert_eq!(fs::read(&file).unwrap(), b"x");
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
                let refused =
                    |result: std::io::Result<()>| result.is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
                let is_refused = refused(fs::write(&file, "y"))
                    && refused(fs::create_dir(dir.path().join("dir")))
                    && refused(fs::remove_file(&file));
                // Not every host has Landlock.
                assert_eq!(is_refused, status != RulesetStatus::NotEnforced, "{status:?}");
            });
            thread.join()
        });
        confined.unwrap();
        fs::write(&file, "only that thread is confined").unwrap();
    }

    #[test]
    fn the_librarys_log_statements_are_not_compiled() {
        assert_eq!(log::STATIC_MAX_LEVEL, log::LevelFilter::Off);
    }
}
