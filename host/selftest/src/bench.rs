//! Where a suite runs vmlab: directories of its own, a mark on all that is started, and an end to all of it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::processes;
use vmlab_events::event::Stamped;
use vmlab_events::log;
use vmlab_qemu::spawn::{self, Family};

/// A vmlab that takes longer hangs: no fault has limits that come near it.
pub const LIMIT: Duration = Duration::from_secs(900);

/// A place to run vmlab in.
#[derive(Debug)]
pub struct Bench {
    dir: TempDir,
    program: PathBuf,
}

/// There is no such place.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Its directories.
    #[error("cannot make a directory for the suite below {dir}; set TMPDIR to a place with room", dir = dir.display())]
    Directory {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// This program's own file.
    #[error("cannot find this program's own file to run it")]
    Program(#[source] io::Error),
    /// It cannot be run.
    #[error("cannot start {program}", program = program.display())]
    Start {
        /// What.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Bench {
    /// With the fetched kernels of this cache, and nothing else of it.
    ///
    /// # Errors
    /// [`BenchError`]
    pub fn new(cache: &Path) -> Result<Self, BenchError> {
        let temporary = std::env::temp_dir();
        let failed = |source| BenchError::Directory { dir: temporary.clone(), source };
        let dir = tempfile::Builder::new().prefix("vmlab-selftest-").tempdir().map_err(failed)?;
        let bench = Self { dir, program: std::env::current_exe().map_err(BenchError::Program)? };
        for part in ["cache/vmlab", "state", "tmp", "modules"] {
            fs::create_dir_all(bench.path(part)).map_err(failed)?;
        }
        symlink(cache.join("kernels"), bench.path("cache/vmlab/kernels")).map_err(failed)?;
        Ok(bench)
    }

    /// A path below its directory.
    #[must_use]
    pub fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// This program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The mark of what is started here.
    #[must_use]
    pub fn mark(&self) -> &OsStr {
        self.dir.path().as_os_str()
    }

    /// Starts a program in the suite's environment; its output goes to files. It dies with this process.
    ///
    /// # Errors
    /// [`BenchError::Start`]
    pub fn start(&self, program: &Path, arguments: &[OsString]) -> Result<Running, BenchError> {
        let failed = |source| BenchError::Start { program: program.to_owned(), source };
        let (stdout, stderr) = (self.path("stdout"), self.path("stderr"));
        let events = self.path("events.jsonl");
        if let Err(error) = fs::remove_file(&events)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(File::create(&stdout).map_err(failed)?).stderr(File::create(&stderr).map_err(failed)?);
        command.env(processes::VARIABLE, self.mark()).env("NO_COLOR", "1");
        for (name, part) in [("XDG_CACHE_HOME", "cache"), ("XDG_STATE_HOME", "state"), ("TMPDIR", "tmp")] {
            command.env(name, self.path(part));
        }
        // What a CI service or a user has set for all runs is not for these.
        for name in ["CI", "GITHUB_ACTIONS", "CLICOLOR_FORCE", "FORCE_COLOR"] {
            command.env_remove(name);
        }
        let child = spawn::die_with_parent(&mut command).spawn().map_err(failed)?;
        Ok(Running { child: Family(child), stdout, stderr, events })
    }

    /// Takes its directory away.
    ///
    /// # Errors
    /// As remove_dir_all.
    pub fn close(self) -> io::Result<()> {
        self.dir.close()
    }
}

/// A vmlab that was started. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    child: Family,
    stdout: PathBuf,
    stderr: PathBuf,
    events: PathBuf,
}

/// How it ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// None where it hung and was killed.
    pub status: Option<ExitStatus>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Running {
    /// Its process number; 0 once it was waited for.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.0.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default()
    }

    /// What it has told in its JSON report so far.
    #[must_use]
    pub fn events(&self) -> Vec<Stamped> {
        let text = fs::read(&self.events).unwrap_or_default();
        text.split_inclusive(|&byte| byte == b'\n').filter_map(log::decode_line).collect()
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// As waitpid(2).
    pub fn has_ended(&mut self) -> io::Result<bool> {
        self.child.0.try_wait().map(|status| status.is_some())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As waitpid(2), and where its output cannot be read.
    pub async fn wait(&mut self) -> io::Result<Ended> {
        let status = match tokio::time::timeout(LIMIT, self.child.0.wait()).await {
            Ok(status) => Some(status?),
            Err(_) => None,
        };
        let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Ended { status, stdout: text(&self.stdout)?, stderr: text(&self.stderr)? })
    }
}
