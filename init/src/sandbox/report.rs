//! Reports from the processes of a sandbox to the process outside, over a pipe: a JSON text per line.

use std::fmt;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vmlab_protocol::catalogue::Namespace;

use super::{During, Trouble};

/// The maximum length of a line, in bytes.
const MAX_LINE: usize = 1 << 20;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// exit(2) with this status.
    Exited(i32),
    /// Killed by the signal with this number.
    Killed(i32),
}

impl End {
    #[must_use]
    pub(crate) const fn killed(signal: Signal) -> Self {
        Self::Killed(signal as i32)
    }

    /// None if the status of waitpid(2) is not the end of a process.
    #[must_use]
    pub(crate) const fn from_status(status: WaitStatus) -> Option<Self> {
        match status {
            WaitStatus::Exited(_, code) => Some(Self::Exited(code)),
            WaitStatus::Signaled(_, signal, _) => Some(Self::killed(signal)),
            _ => None,
        }
    }
}

impl From<ExitStatus> for End {
    /// waitpid(2) without WUNTRACED and WCONTINUED returns only ends.
    fn from(status: ExitStatus) -> Self {
        status.code().map_or_else(|| Self::Killed(status.signal().unwrap_or_default()), Self::Exited)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Killed(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

/// A line of the pipe. The keeper and the process inside never write at the same time, so lines do not mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The keeper is in its new user namespace and waits for the id maps.
    NeedIdMaps,
    /// The process inside exists and has this PID, as seen by the keeper and by the process outside. Of the watched
    /// namespaces, these are new to it.
    Inside(i32, Vec<Namespace>),
    /// The value that the trial's code returned.
    Value(Value),
    /// A step of the plan or the trial's code failed.
    Trouble(Trouble),
    /// The process inside has ended. The keeper reaps it, which frees its PID, only after an answer.
    Gone,
    /// How the process inside ended.
    Ended(End),
}

impl Report {
    /// Writes the report as a line.
    ///
    /// # Errors
    /// As write(2); `EPIPE` if the process outside has ended.
    pub(crate) fn send(&self, pipe: &mut PipeWriter) -> Result<(), Trouble> {
        let mut line = serde_json::to_vec(self).during("writing a report")?;
        line.push(b'\n');
        pipe.write_all(&line).during("write(2) of a report")
    }
}

/// The reading end of the pipe.
#[derive(Debug)]
pub(crate) struct Reports {
    pipe: PipeReader,
    buffer: Vec<u8>,
}

impl Reports {
    pub(crate) const fn new(pipe: PipeReader) -> Self {
        Self { pipe, buffer: Vec::new() }
    }

    /// Waits for the next report.
    ///
    /// # Errors
    /// The timeout passed, the pipe was closed, or the line is no report.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Report, Trouble> {
        let started = Instant::now();
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).during("unreadable report from the sandbox");
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Trouble::new(format_args!("a report of more than {MAX_LINE} bytes from the sandbox")));
            }
            if !readable(&self.pipe, PollFlags::POLLIN, timeout.saturating_sub(started.elapsed()))? {
                return Err(Trouble::new(format_args!("no report from the sandbox within {} ms", timeout.as_millis())));
            }
            let mut chunk = [0; 4096];
            match self.pipe.read(&mut chunk).during("read(2) of a report")? {
                0 => return Err(Trouble::new("the sandbox's processes ended without a report")),
                len => self.buffer.extend(chunk.iter().take(len)),
            }
        }
    }
}

/// Waits until poll(2) reports one of `events`, a hang-up or an error; returns `false` after the timeout.
///
/// # Errors
/// As poll(2).
pub(crate) fn readable(fd: &impl AsFd, events: PollFlags, timeout: Duration) -> Result<bool, Trouble> {
    let started = Instant::now();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), events)], timeout) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error).during("poll(2)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn reports_come_back_as_they_were_sent() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut reports = Reports::new(reader);
        let sent = [
            Report::NeedIdMaps,
            Report::Inside(85, vec![Namespace::Uts]),
            Report::Value(serde_json::json!({"text": "two\nlines"})),
            Report::Trouble(Trouble::new("unshare(CLONE_NEWNET): ENOSPC")),
            Report::Gone,
            Report::Ended(End::killed(Signal::SIGHUP)),
        ];
        for report in &sent {
            report.send(&mut writer).unwrap();
        }
        for report in sent {
            assert_eq!(reports.next(SOON), Ok(report));
        }
    }

    #[test]
    fn silence_closure_and_garbage_are_different_errors() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut reports = Reports::new(reader);
        assert_eq!(reports.next(Duration::ZERO), Err(Trouble::new("no report from the sandbox within 0 ms")));
        writer.write_all(b"{\"Inside\":[").unwrap();
        assert_eq!(reports.next(Duration::ZERO), Err(Trouble::new("no report from the sandbox within 0 ms")));
        writer.write_all(b"7,[]]}\nrubbish\n").unwrap();
        assert_eq!(reports.next(SOON), Ok(Report::Inside(7, Vec::new())));
        assert!(reports.next(SOON).unwrap_err().to_string().starts_with("unreadable report from the sandbox: "));
        drop(writer);
        assert_eq!(reports.next(SOON), Err(Trouble::new("the sandbox's processes ended without a report")));
    }

    #[test]
    fn ends_are_described_in_text() {
        assert_eq!(End::killed(Signal::SIGSEGV).to_string(), "killed by SIGSEGV");
        assert_eq!(End::Killed(34).to_string(), "killed by signal 34");
        assert_eq!(End::Exited(3).to_string(), "exited with 3");
    }
}
