//! Processes that carry a test environment's marker. Children inherit the marker, also after their parent has ended.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The beginning of the arguments of a QEMU that has thawed (`lab::guest::launch`).
const THAWED: &str = "vmlab-guest-";

/// A variable that no other test environment uses. Environments nest: a vmlab that makes a test environment of its own
/// leaves the outer marker in place. Dropping the value kills all processes that carry the marker.
#[derive(Debug)]
pub(super) struct Marker {
    pub(super) variable: OsString,
    pub(super) value: OsString,
}

/// A process that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its start in clock ticks since boot: proc_pid_stat(5), field 22.
    pub started: u64,
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Its command line, words joined by spaces.
    pub command: String,
}

impl Marker {
    /// Made from a temporary directory whose name ends in random letters and digits.
    pub(super) fn of(home: &Path) -> Self {
        let name = home.file_name().unwrap_or_default().to_string_lossy();
        let random = name.rsplit('-').next().unwrap_or_default();
        Self { variable: format!("VMLAB_TEST_ENV_{random}").into(), value: home.into() }
    }

    /// The processes that carry the marker, oldest first.
    pub(super) fn processes(&self) -> Vec<Process> {
        let wanted = [self.variable.as_bytes(), b"=", self.value.as_bytes()].concat();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut found: Vec<_> = pids
            .filter_map(|pid: i32| {
                // The file of a process that has ended cannot be read; that of a zombie is empty.
                let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
                let carries = environment.split(|&byte| byte == 0).any(|variable| variable == wanted);
                carries.then(|| Process::read(pid)).flatten()
            })
            .collect();
        found.sort();
        found
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        for process in self.processes() {
            // The call fails for a process that has ended meanwhile, which is harmless.
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
    }
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The program's name, in parentheses, may hold any character; the third field follows the last parenthesis.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(Self { started, pid, parent, command: String::from_utf8_lossy(&command).replace('\0', " ") })
    }

    /// Whether this is a QEMU with a guest, not one that was asked for its version.
    #[must_use]
    pub fn is_guest(&self) -> bool {
        self.command.split(' ').any(|word| word == "-chardev") || self.command.starts_with(THAWED)
    }

    /// The number of a guest that has thawed.
    #[must_use]
    pub fn guest_number(&self) -> Option<u32> {
        self.command.strip_prefix(THAWED)?.split(' ').next()?.parse().ok()
    }

    /// How many sockets the process has open.
    pub(super) fn sockets(&self) -> usize {
        let links = fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().flatten();
        let targets = links.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| target.as_os_str().as_bytes().starts_with(b"socket:")).count()
    }
}
