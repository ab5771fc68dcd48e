//! A process that the freezer has started, and processes that become it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tempfile::TempDir;
use vmlab_thaw::freezer::{self, FREEZE, Message};
use vmlab_thaw::programs::Program;
use vmlab_thaw::{IMAGE_FD, RAM_FD};

/// The numbers of the freezer's own descriptors.
const CHANNEL: i32 = 20;
const IMAGE: i32 = 21;
/// A process that does not answer in this time has hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connected pair: ours reads with a time limit.
pub fn pair() -> (UnixStream, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    (ours, theirs.into())
}

/// The directory of an image and of the guest's memory.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("ram")).unwrap().set_len(1 << 20).unwrap();
        Self { dir }
    }

    pub fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    pub fn ram(&self) -> PathBuf {
        self.dir.path().join("ram")
    }
}

/// A process and its freezer.
pub struct Frozen {
    pub freezer: Child,
    channel: BufReader<UnixStream>,
    pub pid: u32,
}

impl Frozen {
    /// Starts a program with these descriptors.
    pub fn start(place: &Place, program: &[OsString], passed: Vec<FdMapping>, environment: &[(&str, &str)]) -> Self {
        let (ours, theirs) = pair();
        let image = File::create(place.image()).unwrap();
        let numbers: Vec<_> = passed.iter().map(|mapping| mapping.child_fd).collect();
        let mut command = Command::new(Program::Freezer.path().unwrap());
        command.args(freezer::arguments(CHANNEL, IMAGE, &numbers, &[place.ram()], program));
        command.stdin(Stdio::null()).stdout(Stdio::null()).envs(environment.iter().copied());
        let mut mappings = passed;
        mappings.push(FdMapping { parent_fd: theirs, child_fd: CHANNEL });
        mappings.push(FdMapping { parent_fd: image.into(), child_fd: IMAGE });
        command.fd_mappings(mappings).unwrap();
        let freezer = command.spawn().unwrap();
        drop(command);
        let mut this = Self { freezer, channel: BufReader::new(ours), pid: 0 };
        let Message::Started { pid } = this.message() else { panic!("not started") };
        this.pid = pid;
        this
    }

    fn message(&mut self) -> Message {
        let mut line = String::new();
        self.channel.read_line(&mut line).unwrap();
        Message::parse(&line).unwrap()
    }

    /// Asks for the image.
    pub fn freeze(&mut self) -> Message {
        self.channel.get_mut().write_all(FREEZE).unwrap();
        self.message()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The freezer may have ended.
        let _ = self.freezer.kill();
        let _ = self.freezer.wait();
    }
}

/// A process that has become the frozen one.
pub struct Thawed {
    pub child: Child,
}

impl Thawed {
    /// Starts the thawer with these descriptors.
    pub fn start(place: &Place, passed: Vec<FdMapping>) -> Self {
        let open = |path: PathBuf| File::open(path).unwrap().into();
        let mut mappings = passed;
        mappings.push(FdMapping { parent_fd: open(place.image()), child_fd: IMAGE_FD });
        mappings.push(FdMapping { parent_fd: open(place.ram()), child_fd: RAM_FD });
        let mut command = Command::new(Program::Thawer.path().unwrap());
        std::os::unix::process::CommandExt::arg0(&mut command, "vmlab-guest-7");
        command
            .env("VMLAB_TEST_THAWER", "1")
            .arg("a title")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.fd_mappings(mappings).unwrap();
        Self { child: command.spawn().unwrap() }
    }

    /// A file of /proc.
    pub fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// Waits for its end. Returns how it ended, and its standard error.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap(), text)
    }
}

impl Drop for Thawed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
