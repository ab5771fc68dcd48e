//! A program that runs in a test environment, and the output of one that has ended.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use vmlab_events::event::Stamped;
use vmlab_events::log;

/// A running program. Dropping the value kills and reaps it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Its standard error; bytes that are not UTF-8 are replaced.
    pub stderr: String,
}

impl Running {
    pub(super) const fn new(child: Child, stdout: PathBuf, stderr: PathBuf) -> Self {
        Self { child, stdout, stderr }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Whether it has ended. The process is reaped then.
    ///
    /// # Errors
    /// As waitpid(2).
    pub fn has_ended(&mut self) -> io::Result<bool> {
        self.child.try_wait().map(|status| status.is_some())
    }

    /// Its exit status and output, once it has ended; None before.
    ///
    /// # Errors
    /// As waitpid(2), or its output cannot be read.
    pub fn ended(&mut self) -> io::Result<Option<Ended>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let (stdout, stderr) = self.output()?;
        Ok(Some(Ended { status, stdout, stderr }))
    }

    /// The program's standard output and standard error so far.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn output(&self) -> io::Result<(String, String)> {
        let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok((text(&self.stdout)?, text(&self.stderr)?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A program that has ended and was reaped is not signalled: std remembers its status. A destructor cannot return
        // other errors.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "vmlab ended with {status}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}

/// The complete lines of a JSON report that may still be growing; nothing where the file is missing.
#[must_use]
pub fn events_so_far(file: &Path) -> Vec<Stamped> {
    let text = fs::read(file).unwrap_or_default();
    text.split_inclusive(|&byte| byte == b'\n').filter_map(log::decode_line).collect()
}
