//! Runs vmlab with directories of its own, waits for it with a limit, and lets nothing outlive the test.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::processes::{self, Process};

/// A vmlab that takes longer hangs. No test comes near it, on a busy machine or under an emulator.
const LIMIT: Duration = Duration::from_secs(300);
/// Between two looks at something that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What would change what vmlab does, and is not for a test to inherit.
const NOT_INHERITED: &[&str] = &[
    "VMLAB_QEMU",
    "VMLAB_DEBIAN_MIRROR",
    "VMLAB_DEBIAN_SECURITY_MIRROR",
    "VMLAB_FAKE_QEMU",
    "CI",
    "GITHUB_ACTIONS",
    "NO_COLOR",
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
];

/// A place to run vmlab in.
#[derive(Debug)]
pub struct Bench {
    home: TempDir,
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
    runs: Cell<u32>,
}

impl Bench {
    /// For this vmlab, with a home, a cache and a state directory of its own.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let home = tempfile::Builder::new().prefix("vmlab-test-").tempdir().unwrap();
        let bench = Self { program: program.into(), environment: Vec::new(), runs: Cell::new(0), home };
        let (marker, cache, state) = (bench.marker(), bench.cache(), bench.state());
        let home = bench.home().to_owned();
        bench
            .env(processes::VARIABLE, marker)
            .env("HOME", home)
            .env("XDG_CACHE_HOME", cache)
            .env("XDG_STATE_HOME", state)
    }

    /// With a variable set, in place of what it was.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Where everything of the test is.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// `XDG_CACHE_HOME`, unless another one was set.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.home().join("cache")
    }

    /// `XDG_STATE_HOME`, unless another one was set.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.home().join("state")
    }

    fn marker(&self) -> String {
        self.home().to_str().unwrap().to_owned()
    }

    /// A program, usually vmlab, in the bench's environment.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        NOT_INHERITED.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).current_dir(self.home());
        command
    }

    /// Starts vmlab.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Running {
        let mut command = self.command(&self.program);
        // As a user calls it: help and usage say the name.
        command.arg0("vmlab").args(arguments);
        self.start_command(command)
    }

    /// Starts a command that [`Self::command`] made, with its output kept in files `stdout-N` and `stderr-N` of the
    /// bench, N from 1.
    #[must_use]
    pub fn start_command(&self, mut command: Command) -> Running {
        self.runs.set(self.runs.get() + 1);
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.home().join(format!("{name}-{}", self.runs.get())));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let child = command.spawn().unwrap();
        Running { child: Some(child), stdout, stderr }
    }

    /// Runs vmlab to its end.
    #[must_use]
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ended {
        self.start(arguments).wait()
    }

    /// What vmlab started and has not ended, some time after its own end.
    #[must_use]
    pub fn outliving(&self) -> Vec<Process> {
        processes::outliving(&self.marker())
    }

    /// What carries the bench's marker now.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        processes::with_marker(&self.marker())
    }

    /// The files below the cache, sorted, relative to it.
    #[must_use]
    pub fn cached_files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let cache = self.cache();
        let mut dirs = vec![cache.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                } else {
                    files.push(entry.path().strip_prefix(&cache).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        processes::end_all(&self.marker());
    }
}

/// A vmlab that runs.
#[derive(Debug)]
pub struct Running {
    child: Option<Child>,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A vmlab that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it wrote on standard output.
    pub stdout: String,
    /// What it wrote on standard error.
    pub stderr: String,
}

impl Running {
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits until something is so, while it runs.
    ///
    /// # Panics
    /// It ended first, or hangs.
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let (over, late) = (self.has_ended(), Instant::now() > deadline);
            // What it did last may be just that.
            if let Some(found) = look() {
                return found;
            }
            assert!(
                !over && !late,
                "vmlab {}, and {what} was waited for\n{}",
                if over { "ended" } else { "hangs" },
                self.said()
            );
            sleep(LOOK_AGAIN);
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It hangs.
    #[must_use]
    pub fn wait(self) -> Ended {
        self.wait_within(LIMIT)
    }

    /// Waits for its end, where that may take longer.
    ///
    /// # Panics
    /// It hangs.
    #[must_use]
    pub fn wait_within(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                self.child = None;
                let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
                return Ended { status, stdout: text(&self.stdout), stderr: text(&self.stderr) };
            }
            assert!(Instant::now() < deadline, "vmlab hangs\n{}", self.said());
            sleep(LOOK_AGAIN);
        }
    }

    fn said(&self) -> String {
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        format!("stdout:\n{}\nstderr:\n{}", text(&self.stdout), text(&self.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    /// The exit code; a signal is a failed test.
    ///
    /// # Panics
    /// It was killed.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("killed by {:?}: {self}", self.status.signal()))
    }

    /// Sees to it that it exited with a code.
    ///
    /// # Panics
    /// It did not.
    pub fn exits(&self, code: u8) -> &Self {
        assert_eq!(self.code(), i32::from(code), "{self}");
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "vmlab ended with {status}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}
