//! A running QEMU and the ends of its sockets.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use nix::fcntl::{FcntlArg, fcntl};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::argv::DESCRIPTORS;
use super::{qmp, quote};
use crate::spawn::{die_with_parent, kill_group};

/// How the C library's malloc(3) is to serve QEMU (glibc's manual, "Memory Allocation Tunables"; another library ignores
/// it). The thread that translates guest code allocates all the time, and by default its own arena grows by one page and
/// one mprotect(2) after the other: 260 in a fork that runs a scenario. One arena in big steps, of huge pages where the
/// host has them on request, took such a fork 239 ms of processor time, and the default 253 (medians of 20 in turn, stock
/// 6.12 under TCG of QEMU 7.2).
const MALLOC: &str = "glibc.malloc.arena_max=1:glibc.malloc.top_pad=33554432:glibc.malloc.hugetlb=1";
/// How much of the console waits while vmlab is stopped or has no processor, in bytes: the most that a user may ask for
/// (proc(5), `pipe-max-size`).
const CONSOLE_BYTES: i32 = 1 << 20;
/// How much of the end of QEMU's standard error is kept, in bytes.
const STDERR_KEPT: usize = 4096;
/// How long the end of its standard error is waited for once it is dead: a process that it left behind may hold it.
const STDERR_LIMIT: Duration = Duration::from_secs(2);

impl Drop for QemuProcess {
    fn drop(&mut self) {
        // Whoever wants to know how it ended has called `end`.
        let _ = kill_group(&self.process);
    }
}

/// A QEMU that was started. Dropping it kills it, and all that it has started.
#[derive(Debug)]
pub struct QemuProcess {
    /// The process itself.
    pub process: Child,
    /// The end of what it has written on standard error so far.
    said: Arc<Mutex<Vec<u8>>>,
    /// Reads its standard error all the time, so that it never waits for somebody who does.
    listening: JoinSet<()>,
    /// Our end of the control port.
    pub control: UnixStream,
    /// Our end of QMP.
    pub qmp: Option<UnixStream>,
    /// Whether QMP's capabilities have been agreed on ahead, with the commands that load a fork's state.
    pub agreed: bool,
    /// The same socket once more, for what is not to wait for its turn.
    monitor: StdUnixStream,
    /// Our end of the console.
    pub console: pipe::Receiver,
}

/// QEMU could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No sockets, or no pipe.
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
pub struct QemuEnded {
    /// Its exit status, where it had ended by itself; None where it lived until it was killed here.
    pub by_itself: Option<ExitStatus>,
    /// The end of what it wrote on standard error, on one line; empty where it wrote nothing.
    pub stderr: String,
}

impl QemuProcess {
    /// Starts QEMU. It dies with this process, however this process ends.
    ///
    /// A fork gets its device state, and the QMP commands that load it ([`qmp::load_ahead`]): they are in the socket
    /// before QEMU is there, so that it never waits for the next one.
    ///
    /// # Errors
    /// [`StartError`], by step.
    pub fn start(qemu: &Path, arguments: &[OsString], state: Option<File>) -> Result<Self, StartError> {
        let pair = || -> io::Result<(StdUnixStream, OwnedFd)> {
            let (ours, theirs) = StdUnixStream::pair()?;
            ours.set_nonblocking(true)?;
            Ok((ours, theirs.into()))
        };
        let (control, control_fd) = pair().map_err(StartError::Sockets)?;
        let (mut qmp, qmp_fd) = pair().map_err(StartError::Sockets)?;
        let (console, console_fd) = io::pipe().map_err(StartError::Sockets)?;
        // Where it may not grow, as for a user who has many of them, it holds what pipes hold by default.
        let _ = fcntl(&console, FcntlArg::F_SETPIPE_SZ(CONSOLE_BYTES));
        let monitor = qmp.try_clone().map_err(StartError::Sockets)?;
        let agreed = state.is_some();
        if agreed {
            qmp.write_all(&qmp::load_ahead(DESCRIPTORS.state)).map_err(StartError::Sockets)?;
        }
        let ours = |socket| UnixStream::from_std(socket).map_err(StartError::Sockets);
        let (control, qmp) = (ours(control)?, Some(ours(qmp)?));
        let console = pipe::Receiver::from_owned_fd(console.into()).map_err(StartError::Sockets)?;
        let mut command = Command::new(qemu);
        command.env("GLIBC_TUNABLES", MALLOC);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut mappings = vec![
            FdMapping { parent_fd: control_fd, child_fd: DESCRIPTORS.control },
            FdMapping { parent_fd: qmp_fd, child_fd: DESCRIPTORS.qmp },
            FdMapping { parent_fd: console_fd.into(), child_fd: DESCRIPTORS.console },
        ];
        mappings.extend(state.map(|file| FdMapping { parent_fd: file.into(), child_fd: DESCRIPTORS.state }));
        command.fd_mappings(mappings).map_err(StartError::Descriptors)?;
        die_with_parent(&mut command);
        let mut child = command.spawn().map_err(|source| StartError::Spawn { path: qemu.to_owned(), source })?;
        let (said, mut listening) = (Arc::default(), JoinSet::new());
        if let Some(stderr) = child.stderr.take() {
            listening.spawn(keep_end(stderr, Arc::clone(&said)));
        }
        // `command` goes here, and with it our copies of QEMU's ends: only so does its death close the sockets.
        Ok(Self { process: child, said, listening, control, qmp, agreed, monitor, console })
    }

    /// Lets a fork run, now or as soon as it is loaded ([`qmp::wake`]).
    ///
    /// # Errors
    /// As write(2); that QEMU has gone is one.
    pub fn wake(&self) -> io::Result<()> {
        // A line of this length goes into the socket's buffer whole: nothing else is in it.
        (&self.monitor).write_all(&qmp::wake())
    }

    /// Kills QEMU and its children, where it still runs, reaps it, and gives what it said on standard error.
    ///
    /// # Errors
    /// As kill(2) and waitpid(2).
    pub async fn end(&mut self) -> io::Result<QemuEnded> {
        let by_itself = self.process.try_wait()?;
        kill_group(&self.process)?;
        self.process.wait().await?;
        // Whether or not that end came in time: what was read counts.
        let _ = timeout(STDERR_LIMIT, self.listening.join_next()).await;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(QemuEnded { by_itself, stderr: if said.is_empty() { String::new() } else { quote::end_of(&said) } })
    }
}

/// Reads a stream to its end and keeps the last [`STDERR_KEPT`] bytes.
async fn keep_end(mut stream: ChildStderr, kept: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; STDERR_KEPT];
    // An error is an end like another: what was read before it counts.
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&piece[..count]);
        let excess = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_console_that_nobody_reads_takes_what_comes_byte_by_byte() {
        let bytes = 30_000;
        let script =
            format!("i=0; while [ $i -lt {bytes} ]; do printf x >&{}; i=$((i + 1)); done", DESCRIPTORS.console);
        let mut qemu = QemuProcess::start(Path::new("/bin/sh"), &["-c".into(), script.into()], None).unwrap();
        assert!(qemu.process.wait().await.unwrap().success());
        let mut console = Vec::new();
        qemu.console.read_to_end(&mut console).await.unwrap();
        assert_eq!(console.len(), bytes);
    }
}
