//! Starts commands. A process that waits for its command can be started ahead, before a template is saved.

use std::fs;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};

use vmlab_protocol::command::{Command, Text};

use super::archiver::Archiver;
use super::process::{Process, Started};
use super::streams::Streams;
use crate::command::{self, Order, Place, autoload};
use crate::sys::process;

/// Adjusts whom the kernel kills when memory runs out (proc_pid_oom_score_adj(5)).
const OOM: &str = "/proc/self/oom_score_adj";

/// Starts the commands of a guest, in roots that are made at one place.
pub(crate) struct Launcher<'a> {
    place: Place<'a>,
    standby: Option<Standby>,
    /// Whether the agent survives when memory runs out, and runs before commands.
    is_protected: bool,
}

/// A process that waits for its command.
struct Standby {
    host_files: bool,
    process: Started,
    order: PipeWriter,
    /// Its other end is closed when the process waits for its order.
    prepares: PipeReader,
    streams: Streams,
    archiver: Archiver,
    archive: PipeReader,
}

/// A command that runs.
pub(super) struct Launched {
    pub(super) process: Process,
    pub(super) streams: Streams,
    /// None for a command without files to copy.
    pub(super) archiver: Option<Archiver>,
}

impl<'a> Launcher<'a> {
    pub(crate) const fn new(place: Place<'a>) -> Self {
        Self { place, standby: None, is_protected: false }
    }

    /// Starts a process that becomes a command.
    fn start(&mut self, host_files: bool) -> Result<Standby, String> {
        if !std::mem::replace(&mut self.is_protected, true) {
            // A command may use up all memory, which must not end the agent. The processes of commands are not protected. If this
            // fails, the end of the agent is reported as any other.
            let _ = fs::write(OOM, "-1000");
            // What a command has written before it crashes the kernel is with the host by then. Otherwise it may be lost.
            let _ = process::run_first();
        }
        Standby::start(self.place, host_files)
    }

    /// Starts the process of the next command that sees the host's files, and waits until it waits for its order.
    pub(crate) fn stand_by(&mut self) -> Result<(), String> {
        let mut standby = self.start(true)?;
        standby.wait()?;
        self.standby = Some(standby);
        Ok(())
    }

    /// Forgets the process that was started ahead, which has ended or will be ended with what a leg leaves behind.
    pub(super) fn forget(&mut self) {
        self.standby = None;
    }

    /// Starts a command. Its time limit begins now.
    pub(super) fn launch(&mut self, command: &Command, limit_ms: u64) -> Result<Launched, String> {
        let host_files = command.host_files;
        let ahead = self.standby.take().filter(|standby| standby.host_files == host_files);
        let standby = ahead.map_or_else(|| self.start(host_files), Ok)?;
        standby.run(command, limit_ms)
    }
}

impl Standby {
    fn start(place: Place<'_>, host_files: bool) -> Result<Self, String> {
        let pipe = || io::pipe().map_err(|error| format!("pipe: {error}"));
        let ((orders, order), (prepares, preparing)) = (pipe()?, pipe()?);
        let (streams, pipes) = Streams::pipes()?;
        let (archiver, archive, for_files) = Archiver::pipes()?;
        let process = Started::start(move || {
            let prepared = command::prepare(place, host_files);
            drop(preparing);
            command::await_order(prepared, orders, pipes, for_files)
        })?;
        autoload::announce(&place, process.pid());
        Ok(Self { host_files, process, order, prepares, streams, archiver, archive })
    }

    /// Waits until the process waits for its order, or has ended, of which its outcome will tell.
    fn wait(&mut self) -> Result<(), String> {
        let mut nothing = Vec::new();
        self.prepares.read_to_end(&mut nothing).map(drop).map_err(|error| format!("waiting for the process: {error}"))
    }

    fn run(self, command: &Command, limit_ms: u64) -> Result<Launched, String> {
        let Self { process, mut order, streams, archiver, archive, .. } = self;
        let (mut streams, terminal) = match command.terminal {
            None => (streams, None),
            Some(size) => {
                let (streams, device) = Streams::terminal(size)?;
                (streams, Some(Text::from(device)))
            }
        };
        let mut json = serde_json::to_vec(&Order { command: command.clone(), terminal })
            .map_err(|error| format!("cannot write the order: {error}"))?;
        // JSON has no line ends of its own.
        json.push(b'\n');
        match order.write_all(&json) {
            Ok(()) => {}
            // The process has ended because of an error, which is the outcome.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(format!("cannot give the order: {error}")),
        }
        let archiver = if command.out.is_empty() {
            None
        } else {
            streams.add_archive(archive)?;
            Some(archiver)
        };
        Ok(Launched { process: process.limited(limit_ms), streams, archiver })
    }
}
