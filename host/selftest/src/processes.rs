//! The processes of a suite: those that carry its mark in their environment, which children inherit whoever their parent
//! is by now.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

/// The variable that carries the mark.
pub const VARIABLE: &str = "VMLAB_SELFTEST";

/// A process that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// When it was started, in clock ticks since boot: proc(5), `/proc/pid/stat`, field 22.
    pub started: u64,
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Whether it is a QEMU with a guest.
    pub is_guest: bool,
}

/// The processes with a mark, oldest first.
#[must_use]
pub fn with_mark(mark: &OsStr) -> Vec<Process> {
    let wanted = [VARIABLE.as_bytes(), b"=", mark.as_bytes()].concat();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<_> = pids
        .filter_map(|pid: i32| {
            // One that has ended meanwhile cannot be read, and one that has not been reaped reads as empty.
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let marked = environment.split(|&byte| byte == 0).any(|word| word == wanted);
            marked.then(|| process(pid)).flatten()
        })
        .collect();
    found.sort();
    found
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the third field follows the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let is_guest = command.split(|&byte| byte == 0).any(|word| word == b"-chardev");
    Some(Process { started, pid, parent, is_guest })
}

/// How many sockets a process has open.
#[must_use]
pub fn sockets(pid: i32) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_socket = |path: std::path::PathBuf| path.as_os_str().as_bytes().starts_with(b"socket:");
    links.filter_map(|entry| fs::read_link(entry.path()).ok()).filter(|path| is_socket(path.clone())).count()
}
