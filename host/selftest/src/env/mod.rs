//! [`TestEnv`]: directories and environment variables in which vmlab runs apart from everything else on this machine, and
//! an end to every process that was started there. The fault suite and the end-to-end tests use it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use vmlab_qemu::spawn;

mod leftovers;
mod process;
mod running;

pub use leftovers::Leftovers;
pub use process::Process;
pub use running::{Ended, Running, events_so_far};

use process::Marker;

/// Variables that change what vmlab prints. A user or a CI service sets them for other runs.
const NOT_INHERITED: &[&str] = &["CI", "GITHUB_ACTIONS", "NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR"];

/// A home directory, with the places of a cache, of state and of temporary files below it.
///
/// Every process that is started here carries a marker in its environment. Dropping the value kills all processes with
/// that marker and removes the directories.
#[derive(Debug)]
pub struct TestEnv {
    // Dropped before the directories: processes that still run could write there.
    marker: Marker,
    home: TempDir,
    program: PathBuf,
    /// None: the variable is not inherited.
    variables: BTreeMap<OsString, Option<OsString>>,
    starts: Cell<u32>,
}

/// A step of the test environment that failed.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// A directory was not created.
    #[error("cannot make a directory for tests below {dir}; set TMPDIR to a place with room", dir = dir.display())]
    Directory {
        /// The parent directory.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A program did not start.
    #[error("cannot start {program}", program = program.display())]
    Start {
        /// The program's path.
        program: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl TestEnv {
    /// Creates the directories, for runs of this vmlab.
    ///
    /// # Errors
    /// [`EnvError::Directory`]
    pub fn new(program: &Path) -> Result<Self, EnvError> {
        let parent = std::env::temp_dir();
        let failed = |source| EnvError::Directory { dir: parent.clone(), source };
        let home = tempfile::Builder::new().prefix("vmlab-test-").tempdir().map_err(failed)?;
        let marker = Marker::of(home.path());
        let variables = NOT_INHERITED.iter().map(|name| (OsString::from(name), None)).collect();
        let env = Self { program: program.to_owned(), marker, variables, starts: Cell::new(0), home };
        fs::create_dir(env.temporary()).map_err(failed)?;
        let (home, cache, state, temporary) = (env.home().to_owned(), env.cache(), env.state(), env.temporary());
        let env = env.env("HOME", home).env("XDG_CACHE_HOME", cache).env("XDG_STATE_HOME", state);
        Ok(env.env("TMPDIR", temporary))
    }

    /// Sets a variable for all further commands.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.insert(name.into(), Some(value.as_ref().to_owned()));
        self
    }

    /// Keeps a variable of this process from all further commands.
    #[must_use]
    pub fn env_remove(mut self, name: &str) -> Self {
        self.variables.insert(name.into(), None);
        self
    }

    /// The directory that holds everything else.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The default of `XDG_CACHE_HOME`.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.home().join("cache")
    }

    /// The default of `XDG_STATE_HOME`.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.home().join("state")
    }

    /// The default of `TMPDIR`.
    #[must_use]
    pub fn temporary(&self) -> PathBuf {
        self.home().join("tmp")
    }

    /// The vmlab that [`Self::new`] was given.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command with the environment's variables and marker, without standard input.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env(&self.marker.variable, &self.marker.value).stdin(Stdio::null());
        command
    }

    /// Starts a command of [`Self::command`]. Its output goes to the files `stdout-N` and `stderr-N` of the home
    /// directory, with N counted from 1. The process dies with the thread that calls this.
    ///
    /// # Errors
    /// [`EnvError::Start`]
    pub fn start(&self, mut command: Command) -> Result<Running, EnvError> {
        let number = self.starts.get() + 1;
        self.starts.set(number);
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.home().join(format!("{name}-{number}")));
        let program = PathBuf::from(command.get_program());
        let failed = |source| EnvError::Start { program, source };
        let spawn = || {
            command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
            let mut command = tokio::process::Command::from(command);
            spawn::die_with_parent(&mut command);
            command.into_std().spawn()
        };
        Ok(Running::new(spawn().map_err(failed)?, stdout, stderr))
    }

    /// The processes that were started here, directly or not, and have not ended; oldest first.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        self.marker.processes()
    }

    /// Kills all processes and removes the directories. Dropping the value does the same, but reports no error.
    ///
    /// # Errors
    /// As remove_dir_all.
    pub fn close(self) -> io::Result<()> {
        drop(self.marker);
        self.home.close()
    }
}

#[cfg(test)]
mod tests;
