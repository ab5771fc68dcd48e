//! A process that counts, and the image of its memory and registers, from which another process goes on counting.
//!
//! Both processes are forks of one program, so their memory is at the same addresses and they have the same open files. What is
//! left to restore is what differs: the contents of the writable memory, and the registers.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, Write};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc::user_regs_struct;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, write};
use serde::{Deserialize, Serialize};

use super::Trouble;
use super::support::{receive_line, require, send_line, until};
use crate::sandbox::During;
use crate::sys::checkpoint::{from_words, replace_descriptor, to_words};
use crate::sys::create::Clone3;
use crate::sys::process::reap_any;

/// The count of the process that counts, at the same address in each.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Not 0 if the process is to write its count to its socket.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// The descriptor of the process's socket, the same in each.
const SOCKET: RawFd = 100;

/// A process that counts without end, and makes no system call unless it is asked to. Its parent's end kills it, and so does dropping it.
pub(in crate::scenarios) struct Counting(Pid);

impl Counting {
    /// Starts to count from `first`, in a process with this PID, or the next one; returns as soon as it has counted.
    ///
    /// # Errors
    /// The outer ones as the inner ones of clone3(2), which is an observation.
    pub(in crate::scenarios) fn start(first: u64, pid: &[i32]) -> Result<nix::Result<Self>, Trouble> {
        Self::start_with(first, pid, None)
    }

    /// As [`Self::start`]. The process has this socket, to which it writes its count when it is asked to ([`Self::ask`]).
    pub(in crate::scenarios) fn start_with(
        first: u64,
        pid: &[i32],
        socket: Option<BorrowedFd<'_>>,
    ) -> Result<nix::Result<Self>, Trouble> {
        let how = Clone3 { set_tid: pid, ..Clone3::default() };
        let made = how.fork_with(|| {
            COUNT.store(first, Ordering::Relaxed);
            if set_pdeathsig(Signal::SIGKILL).is_err() {
                return 1;
            }
            let Ok(socket) = socket.map(take_place).transpose() else { return 1 };
            loop {
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                if ASKED.swap(0, Ordering::Relaxed) != 0
                    && socket.as_ref().is_some_and(|socket| write(socket, &count.to_ne_bytes()).is_err())
                {
                    return 1;
                }
            }
        });
        match made {
            Ok((child, _pidfd)) => {
                let counting = Self(child);
                counting.wait_beyond(first)?;
                Ok(Ok(counting))
            }
            Err(errno) => Ok(Err(errno)),
        }
    }

    pub(in crate::scenarios) fn pid(&self) -> i32 {
        self.0.as_raw()
    }

    /// Reads the count from outside.
    pub(in crate::scenarios) fn count(&self) -> Result<u64, Trouble> {
        let mut bytes = [0; 8];
        self.memory(false)?.read_exact_at(&mut bytes, (&raw const COUNT) as u64).during("reading the count")?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Waits until the process has counted further than this, and is not what it was started with.
    pub(in crate::scenarios) fn wait_beyond(&self, count: u64) -> Result<u64, Trouble> {
        let mut now = count;
        until("the counting process", || {
            now = self.count()?;
            Ok(now > count)
        })?;
        Ok(now)
    }

    /// Has the process write its count to its socket.
    pub(in crate::scenarios) fn ask(&self) -> Result<(), Trouble> {
        self.memory(true)?.write_all_at(&1_u64.to_ne_bytes(), (&raw const ASKED) as u64).during("writing the order")
    }

    /// Stops the process, where it is.
    fn stop(&self) -> Result<(), Trouble> {
        ptrace::seize(self.0, ptrace::Options::empty()).during("ptrace(PTRACE_SEIZE)")?;
        ptrace::interrupt(self.0).during("ptrace(PTRACE_INTERRUPT)")?;
        waitpid(self.0, None).map(drop).during("waitpid(2) for a stopped process")
    }

    /// Stops the process and copies its writable memory and its registers. The process stays stopped.
    pub(in crate::scenarios) fn dump(&self) -> Result<Image, Trouble> {
        self.stop()?;
        let registers = ptrace::getregs(self.0).during("ptrace(PTRACE_GETREGS)")?;
        let memory = self.memory(false)?;
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.0)).during("reading /proc/PID/maps")?;
        let mut parts = Vec::new();
        for (start, end) in maps.lines().filter_map(writable) {
            let length = usize::try_from(end.saturating_sub(start)).during("the size of a mapping")?;
            let mut bytes = vec![0; length];
            memory.read_exact_at(&mut bytes, start).during(format_args!("reading /proc/PID/mem at {start:#x}"))?;
            parts.push((start, bytes));
        }
        Ok(Image { count: self.count()?, registers, parts })
    }

    /// Gives the process the memory and the registers of the image, and lets it run.
    pub(in crate::scenarios) fn restore(&self, image: &Image) -> Result<(), Trouble> {
        self.stop()?;
        let memory = self.memory(true)?;
        for (start, bytes) in &image.parts {
            memory.write_all_at(bytes, *start).during(format_args!("writing /proc/PID/mem at {start:#x}"))?;
        }
        ptrace::setregs(self.0, image.registers).during("ptrace(PTRACE_SETREGS)")?;
        require("the count of the restored process before it runs", &self.count()?, &image.count)?;
        ptrace::detach(self.0, None).during("ptrace(PTRACE_DETACH)")
    }

    fn memory(&self, write: bool) -> Result<fs::File, Trouble> {
        let path = format!("/proc/{}/mem", self.0);
        OpenOptions::new().read(true).write(write).open(&path).during(format_args!("opening {path}"))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // Also a stopped process ends.
        let ended = kill(self.0, Signal::SIGKILL).and_then(|()| reap_any(self.0).map(drop));
        if let Err(errno) = ended {
            crate::sandbox::undo::failed(format_args!("the counting process {}: {errno}", self.0));
        }
    }
}

/// What a process was when it was stopped.
pub(in crate::scenarios) struct Image {
    pub(in crate::scenarios) count: u64,
    registers: user_regs_struct,
    /// The address and contents of each writable mapping.
    parts: Vec<(u64, Vec<u8>)>,
}

/// What goes before the memory of an image that is sent.
#[derive(Serialize, Deserialize)]
struct Head {
    count: u64,
    registers: Vec<u64>,
    /// The address and length of each part.
    parts: Vec<(u64, usize)>,
}

impl Image {
    /// Writes the image: a line, and the contents of the parts.
    pub(in crate::scenarios) fn send(&self, to: &mut impl Write) -> Result<(), Trouble> {
        let parts = self.parts.iter().map(|(start, bytes)| (*start, bytes.len())).collect();
        let head = Head { count: self.count, registers: to_words(&self.registers).to_vec(), parts };
        send_line(to, &head)?;
        self.parts.iter().try_for_each(|(_, bytes)| to.write_all(bytes)).during("sending an image")
    }

    /// Reads an image that was sent.
    pub(in crate::scenarios) fn receive(from: &mut impl BufRead) -> Result<Self, Trouble> {
        /// More than a process of this program has.
        const MOST: usize = 64 << 20;
        let Head { count, registers, parts } = receive_line(from)?;
        let words = registers.first_chunk().ok_or_else(|| Trouble::new("an image with too few registers"))?;
        let mut image = Self { count, registers: from_words(*words), parts: Vec::new() };
        for (start, length) in parts {
            let mut bytes = vec![0; length.min(MOST)];
            from.read_exact(&mut bytes).during("receiving an image")?;
            image.parts.push((start, bytes));
        }
        Ok(image)
    }
}

/// Moves a socket to the descriptor that it has in each process.
fn take_place(socket: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    replace_descriptor(socket, SOCKET)
}

/// The addresses of a line of /proc/PID/maps, if the mapping is writable and private.
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    (fields.next()? == "rw-p").then_some((address(start)?, address(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_writable_mappings_are_saved() {
        let line = "7ffc6d3c2000-7ffc6d3e3000 rw-p 00000000 00:00 0                          [stack]";
        assert_eq!(writable(line), Some((0x7ffc_6d3c_2000, 0x7ffc_6d3e_3000)));
        for other in ["r--p", "r-xp", "rw-s", "---p"] {
            assert_eq!(writable(&line.replace("rw-p", other)), None, "{other}");
        }
    }
}
