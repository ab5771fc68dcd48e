//! A running QEMU and the ends of its sockets.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};

use super::argv::DESCRIPTORS;
use super::qmp;
use crate::spawn::die_with_parent;

/// The most of QEMU's standard error that is kept, in bytes.
const STDERR_LIMIT: u64 = 64 * 1024;

/// A QEMU that was started. Dropping it kills it.
#[derive(Debug)]
pub struct QemuProcess {
    /// The process itself.
    pub process: Child,
    stderr: Option<ChildStderr>,
    /// Our end of the control port.
    pub control: UnixStream,
    /// Our end of QMP.
    pub qmp: Option<UnixStream>,
    /// Our end of the console.
    pub console: UnixStream,
}

/// QEMU could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No sockets.
    #[error("cannot make QEMU's sockets")]
    Sockets(#[source] io::Error),
    /// The descriptors cannot be handed over.
    #[error("cannot hand descriptors to QEMU")]
    Descriptors(#[source] command_fds::FdMappingCollision),
    /// The program cannot be run.
    #[error("cannot run {}", path.display())]
    Spawn {
        /// QEMU's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How QEMU ended.
#[derive(Debug, Clone)]
pub struct QemuEnd {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote on standard error, lossily decoded.
    pub stderr: String,
}

impl QemuProcess {
    /// Starts QEMU. It dies with this process, however this process ends.
    ///
    /// A fork gets its device state, and the QMP commands that load it ([`qmp::resume_ahead`]): they are in the socket
    /// before QEMU is there, so that it never waits for the next one.
    ///
    /// # Errors
    /// [`StartError`], by step.
    pub fn start(qemu: &Path, arguments: &[OsString], state: Option<File>) -> Result<Self, StartError> {
        let pair = |ahead: &[u8]| -> io::Result<(UnixStream, OwnedFd)> {
            let (mut ours, theirs) = StdUnixStream::pair()?;
            ours.write_all(ahead)?;
            ours.set_nonblocking(true)?;
            Ok((UnixStream::from_std(ours)?, theirs.into()))
        };
        let (control, control_fd) = pair(&[]).map_err(StartError::Sockets)?;
        let ahead = if state.is_some() { qmp::resume_ahead(DESCRIPTORS.state) } else { Vec::new() };
        let (qmp, qmp_fd) = pair(&ahead).map_err(StartError::Sockets)?;
        let (console, console_fd) = pair(&[]).map_err(StartError::Sockets)?;
        let mut command = Command::new(qemu);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut mappings = vec![
            FdMapping { parent_fd: control_fd, child_fd: DESCRIPTORS.control },
            FdMapping { parent_fd: qmp_fd, child_fd: DESCRIPTORS.qmp },
            FdMapping { parent_fd: console_fd, child_fd: DESCRIPTORS.console },
        ];
        mappings.extend(state.map(|file| FdMapping { parent_fd: file.into(), child_fd: DESCRIPTORS.state }));
        command.fd_mappings(mappings).map_err(StartError::Descriptors)?;
        die_with_parent(&mut command);
        let mut child = command.spawn().map_err(|source| StartError::Spawn { path: qemu.to_owned(), source })?;
        let stderr = child.stderr.take();
        // `command` goes here, and with it our copies of QEMU's ends: only so does its death close the sockets.
        Ok(Self { process: child, stderr, control, qmp: Some(qmp), console })
    }

    /// Kills QEMU, where it still runs, reaps it, and gives what it said on standard error.
    ///
    /// # Errors
    /// As kill(2), waitpid(2) and read(2).
    pub async fn end(&mut self) -> io::Result<QemuEnd> {
        // A process that has ended already is no error here.
        self.process.start_kill()?;
        let status = self.process.wait().await?;
        let mut text = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            stderr.take(STDERR_LIMIT).read_to_end(&mut text).await?;
        }
        Ok(QemuEnd { status, stderr: String::from_utf8_lossy(&text).trim().to_owned() })
    }
}
