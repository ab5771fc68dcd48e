//! Which processes belong to a test: those with its marker in their environment. Children inherit it, whatever they are
//! and whoever their parent is by now.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable that carries the marker.
pub const VARIABLE: &str = "VMLAB_TEST_MARK";

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line, words joined by spaces.
    pub command: String,
}

/// The processes that carry a marker and have not ended.
#[must_use]
pub fn with_marker(marker: &str) -> Vec<Process> {
    let wanted = format!("{VARIABLE}={marker}");
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        // A process that has ended meanwhile cannot be read, and one that has not been reaped reads as empty.
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let carries = environment.split(|&byte| byte == 0).any(|word| word == wanted.as_bytes());
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        carries.then(|| Process { pid, command: String::from_utf8_lossy(&command).replace('\0', " ") })
    })
    .collect()
}

/// Waits until no process carries the marker; what is still there after a time that no orderly end takes.
#[must_use]
pub fn outliving(marker: &str) -> Vec<Process> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = with_marker(marker);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Ends what carries the marker, so that a test that failed leaves nothing behind.
pub fn end_all(marker: &str) {
    for process in with_marker(marker) {
        // It may have ended by itself meanwhile.
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
}
