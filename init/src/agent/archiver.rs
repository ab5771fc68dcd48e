//! The agent's side of the archiver (`command::out`), which writes the files of a command that has ended.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use crate::command::out::Pipes;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The time limit for the archiver to write more, while the host takes what it writes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The maximum size of what the archiver reports, in bytes.
const RESULT_LIMIT: usize = 16 * 1024;

/// The agent's ends of the archiver's pipes, but that of the archive. When it is dropped before the archiver was told to begin, the
/// archiver ends.
pub(super) struct Archiver {
    go: PipeWriter,
    result: PipeReader,
}

impl Archiver {
    /// The pipes of an archiver: the agent's ends, with that of the archive apart, and the archiver's.
    pub(super) fn pipes() -> Result<(Self, PipeReader, Pipes), String> {
        let pipe = || io::pipe().map_err(|error| format!("pipe: {error}"));
        let ((go, tell), (archive, write), (result, report)) = (pipe()?, pipe()?, pipe()?);
        Ok((Self { go: tell, result }, archive, Pipes { go, archive: write, result: report }))
    }

    /// Stops what the program has left behind, and lets the archiver begin.
    pub(super) fn begin(&mut self) -> Result<(), String> {
        let mut pid = [0; 4];
        self.result.read_exact(&mut pid).map_err(|_| "the process that copies them was not started".to_owned())?;
        // The signals spare PID 1 and the agent (kill(2)). The archiver may have been killed, which its report then shows.
        match kill(Pid::from_raw(-1), Signal::SIGSTOP) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(format!("the remaining processes cannot be stopped: {error}")),
        }
        let _ = kill(Pid::from_raw(i32::from_ne_bytes(pid)), Signal::SIGCONT);
        self.go.write_all(b"g").map_err(|error| format!("the process that copies them has ended early: {error}"))
    }

    /// What the archiver reports, after the end of the archive.
    pub(super) fn end(mut self) -> Result<(), String> {
        let (mut json, mut buffer) = (Vec::new(), [0; 4096]);
        let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        while json.len() < RESULT_LIMIT {
            match poll(&mut [PollFd::new(self.result.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => break,
                Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(format!("poll: {error}")),
            }
            match self.result.read(&mut buffer).map_err(|error| format!("read: {error}"))? {
                0 => break,
                count => json.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
        serde_json::from_slice(&json).unwrap_or_else(|_| Err("the process that copies them ended early".to_owned()))
    }
}
