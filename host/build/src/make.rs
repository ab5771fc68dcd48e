//! Runs the kernel's build.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use vmlab_qemu::command;

use crate::compiler::Compiler;
use crate::steps::{BuildFailure, Steps};

/// What would lead the build elsewhere if it were in the environment: settings of an outer make, and of Kbuild
/// (Documentation/kbuild/kbuild.rst, kconfig.rst).
const NOT_PASSED: [&str; 13] = [
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
    "ARCH",
    "SRCARCH",
    "SUBARCH",
    "CROSS_COMPILE",
    "KBUILD_OUTPUT",
    "KBUILD_EXTMOD",
    "KBUILD_VERBOSE",
    "KCONFIG_CONFIG",
    "KCONFIG_ALLCONFIG",
    "LOCALVERSION",
];

/// What makes two builds of the same source the same (Documentation/kbuild/reproducible-builds.rst).
const REPRODUCIBLE: [(&str, &str); 4] = [
    ("KBUILD_BUILD_TIMESTAMP", "1970-01-01 00:00:00 UTC"),
    ("KBUILD_BUILD_USER", "vmlab"),
    ("KBUILD_BUILD_HOST", "vmlab"),
    ("KBUILD_BUILD_VERSION", "1"),
];

/// The build of a tree in a directory.
#[derive(Debug)]
pub(crate) struct Make<'a> {
    pub(crate) tree: &'a Path,
    /// The build directory (`O=`).
    pub(crate) out: PathBuf,
    pub(crate) compiler: &'a Compiler,
    pub(crate) jobs: NonZeroUsize,
    /// The file that gets the whole output.
    pub(crate) log: PathBuf,
}

/// Why a run of make did not do its work.
#[derive(Debug)]
pub(crate) enum MakeError {
    /// make cannot be started, or its output not be read or written.
    Run(io::Error),
    /// make failed.
    Failed(BuildFailure),
}

impl Make<'_> {
    /// Runs make with targets and settings. Calls `on_step` with the number of each step and its file. Returns the number of
    /// steps. Dropping the future kills make with all its children.
    pub(crate) async fn run(
        &self,
        targets: &[&str],
        settings: &[(&str, &OsStr)],
        mut on_step: impl FnMut(u64, &str),
    ) -> Result<u64, MakeError> {
        let mut log = File::options().create(true).append(true).open(&self.log).map_err(MakeError::Run)?;
        let mut steps = Steps::default();
        let mut written = Ok(());
        let finished = command::run(self.command(targets, settings), |line| {
            written = std::mem::replace(&mut written, Ok(())).and_then(|()| writeln!(log, "{line}"));
            if let Some(file) = steps.line(line) {
                on_step(steps.count, file);
            }
        });
        let finished = finished.await.map_err(MakeError::Run)?;
        if finished.status.success() {
            // Of a build that failed the error matters more than its log.
            written.map_err(MakeError::Run)?;
            return Ok(steps.count);
        }
        Err(MakeError::Failed(steps.failure()))
    }

    fn command(&self, targets: &[&str], settings: &[(&str, &OsStr)]) -> Command {
        // The compiler writes to standard error, make to standard output: one log needs both in their order.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$@\" 2>&1", "sh", "make"]);
        command.arg("-C").arg(self.tree).arg(assignment("O", self.out.as_os_str()));
        command.arg(format!("-j{}", self.jobs)).arg("ARCH=x86").args(&self.compiler.variables);
        command.args(targets);
        for name in NOT_PASSED {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env_remove("LANGUAGE").envs(REPRODUCIBLE).envs(settings.iter().copied());
        command
    }
}

fn assignment(name: &str, value: &OsStr) -> OsString {
    let mut text = OsString::from(format!("{name}="));
    text.push(value);
    text
}
