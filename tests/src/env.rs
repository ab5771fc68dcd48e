//! [`vmlab_selftest::env`] for tests: a call that fails ends the test, and so does a vmlab that hangs.

use std::ffi::OsStr;
use std::fs;
use std::ops::Deref;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmlab_selftest::env;
pub use vmlab_selftest::env::{Process, events_so_far};

/// A vmlab that runs for longer hangs: no test comes near this, on a busy machine or under an emulator either.
const HANG_TIMEOUT: Duration = Duration::from_secs(300);
/// How long processes of a run may be there after vmlab's end. No orderly end takes as long.
const OUTLIVING_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two looks at something that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Variables of vmlab that a test sets itself where it wants them.
const NOT_INHERITED: [&str; 4] =
    ["VMLAB_QEMU", "VMLAB_DEBIAN_MIRROR", "VMLAB_DEBIAN_SECURITY_MIRROR", crate::fake::script::VARIABLE];

/// Directories and variables in which a test runs vmlab.
#[derive(Debug)]
pub struct TestEnv(env::TestEnv);

/// A vmlab that runs.
#[derive(Debug)]
pub struct Running(env::Running);

/// A vmlab that has ended.
#[derive(Debug)]
pub struct Ended(env::Ended);

impl TestEnv {
    /// For runs of this vmlab.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let env = env::TestEnv::new(Path::new(program)).unwrap();
        Self(NOT_INHERITED.iter().fold(env, |env, name| env.env_remove(name)))
    }

    /// Sets a variable for all further commands.
    #[must_use]
    pub fn env(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        Self(self.0.env(name, value))
    }

    /// A command that runs in the home directory, with the environment's variables.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.0.command(program);
        command.current_dir(self.home());
        command
    }

    /// Starts vmlab.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Running {
        let mut command = self.command(self.program());
        // The help and usage texts contain the name by which vmlab is called.
        command.arg0("vmlab").args(arguments);
        self.start_command(command)
    }

    /// Starts a command of [`Self::command`], as [`env::TestEnv::start`] does.
    #[must_use]
    pub fn start_command(&self, command: Command) -> Running {
        Running(self.0.start(command).unwrap())
    }

    /// Runs vmlab to its end.
    #[must_use]
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ended {
        self.start(arguments).wait()
    }

    /// Waits, with a limit, until no process of the environment is left, and returns those that are.
    #[must_use]
    pub fn outliving(&self) -> Vec<Process> {
        let deadline = Instant::now() + OUTLIVING_TIMEOUT;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            sleep(POLL_INTERVAL);
        }
    }

    /// The files in the cache, sorted, relative to it.
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

impl Deref for TestEnv {
    type Target = env::TestEnv;

    fn deref(&self) -> &env::TestEnv {
        &self.0
    }
}

impl Running {
    /// Sends a signal to vmlab.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.pid()), signal).unwrap();
    }

    /// vmlab's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// Whether vmlab has ended.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        self.0.has_ended().unwrap()
    }

    /// vmlab's exit status and output, once it has ended.
    #[must_use]
    pub fn try_ended(&mut self) -> Option<Ended> {
        self.0.ended().unwrap().map(Ended)
    }

    /// Waits until `look` finds something while vmlab runs, and returns that. `what` describes it.
    ///
    /// # Panics
    /// vmlab ends first, or hangs.
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + HANG_TIMEOUT;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let (over, late) = (self.has_ended(), Instant::now() > deadline);
            // vmlab may have done it between the last look and its end.
            if let Some(found) = look() {
                return found;
            }
            let state = if over { "ended" } else { "hangs" };
            assert!(!over && !late, "vmlab {state}, and {what} was waited for\n{}", self.output());
            sleep(POLL_INTERVAL);
        }
    }

    /// Waits for vmlab's end.
    ///
    /// # Panics
    /// vmlab hangs.
    #[must_use]
    pub fn wait(self) -> Ended {
        self.wait_within(HANG_TIMEOUT)
    }

    /// Waits for vmlab's end with another limit.
    ///
    /// # Panics
    /// vmlab runs for longer.
    #[must_use]
    pub fn wait_within(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(ended) = self.try_ended() {
                return ended;
            }
            assert!(Instant::now() < deadline, "vmlab hangs\n{}", self.output());
            sleep(POLL_INTERVAL);
        }
    }

    fn output(&self) -> String {
        let (stdout, stderr) = self.0.output().unwrap_or_default();
        format!("stdout:\n{stdout}\nstderr:\n{stderr}")
    }
}

impl Ended {
    /// The exit code.
    ///
    /// # Panics
    /// A signal ended vmlab.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("killed by {:?}: {self}", self.status.signal()))
    }

    /// Checks the exit code.
    ///
    /// # Panics
    /// The exit code is another.
    pub fn exits(&self, code: u8) -> &Self {
        assert_eq!(self.code(), i32::from(code), "{self}");
        self
    }
}

impl Deref for Ended {
    type Target = env::Ended;

    fn deref(&self) -> &env::Ended {
        &self.0
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
