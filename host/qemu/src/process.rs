//! A running QEMU with its sockets and its console.

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
use tokio::process::ChildStderr;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::argv::DESCRIPTORS;
use super::{qmp, quote};
use crate::frozen::{Freezer, Frozen, Launch};
use crate::qemu::offspring;
use crate::spawn::{Family, Offspring};

/// Settings of glibc's malloc(3) for QEMU (glibc manual, "Memory Allocation Tunables"; other C libraries ignore them).
/// The thread that translates guest code allocates constantly; by default its arena grows page by page with an
/// mprotect(2) each: 260 calls in a fork that runs a scenario. With one arena that grows in large steps, with huge
/// pages if the host provides them on request, such a fork takes 239 against 253 ms of CPU time (medians of 20
/// interleaved runs, stock 6.12 under TCG of QEMU 7.2).
const MALLOC: &str = "glibc.malloc.arena_max=1:glibc.malloc.top_pad=33554432:glibc.malloc.hugetlb=1";
/// The capacity of the console's pipe, which buffers the console while vmlab is stopped or gets no CPU, in bytes. Users
/// may set at most this size (proc(5), `pipe-max-size`).
const CONSOLE_BYTES: i32 = 1 << 20;
/// The amount of the end of QEMU's standard error that is kept, in bytes.
const STDERR_KEPT: usize = 4096;
/// The time limit for the end of QEMU's standard error after its death: a process that it left behind may hold it open.
const STDERR_LIMIT: Duration = Duration::from_secs(2);

/// A QEMU process. Dropping it kills the process and its children.
#[derive(Debug)]
pub struct QemuProcess {
    /// The child process, and what it starts.
    pub process: Family,
    /// The end of QEMU's standard error so far.
    stderr: Arc<Mutex<Vec<u8>>>,
    /// The task that reads QEMU's standard error, so that QEMU never blocks on it.
    listening: JoinSet<()>,
    /// vmlab's end of the control port.
    pub control: UnixStream,
    /// vmlab's end of QMP.
    pub qmp: Option<UnixStream>,
    /// Whether the QMP handshake was sent in advance, with the commands that load a fork's state.
    pub agreed: bool,
    /// The greeting of a thawed QEMU, which it has sent before it was frozen.
    pub greeting: Option<String>,
    /// The freezer, if QEMU can be frozen.
    pub freezer: Option<Freezer>,
    /// A duplicate of the QMP socket, for commands that must not wait.
    monitor: StdUnixStream,
    /// vmlab's end of the console.
    pub console: pipe::Receiver,
}

/// What a QEMU inherits beside the control port, QMP and the console.
#[derive(Debug, Default)]
pub struct Inherited {
    /// A fork's device state.
    pub state: Option<File>,
    /// The other end of a stream socket for the port with the host's files.
    pub files: Option<OwnedFd>,
    /// A listening stream socket for debuggers.
    pub debugger: Option<OwnedFd>,
    /// A connected stream socket for the link to another guest.
    pub link: Option<OwnedFd>,
    /// What the freezer or the thawer needs, if one of them starts QEMU.
    pub frozen: Option<Frozen>,
}

/// Why QEMU cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Sockets or pipe cannot be created.
    #[error("cannot create QEMU's sockets")]
    Sockets(#[source] io::Error),
    /// The descriptors cannot be passed to QEMU.
    #[error("cannot pass descriptors to QEMU")]
    Descriptors(#[source] command_fds::FdMappingCollision),
    /// The freezer or the thawer cannot be prepared.
    #[error("cannot prepare vmlab's program that starts QEMU")]
    Helper(#[source] io::Error),
    /// The program cannot be executed.
    #[error("cannot run {}", path.display())]
    Spawn {
        /// The path of QEMU.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// How QEMU ended.
#[derive(Debug, Clone)]
pub struct QemuEnded {
    /// QEMU's exit status; None if QEMU ran until vmlab killed it.
    pub by_itself: Option<ExitStatus>,
    /// The end of QEMU's standard error on one line; empty if QEMU printed nothing.
    pub stderr: String,
    /// Whether a process that QEMU's program started is still there: it holds QEMU's standard error open.
    pub left_a_process: bool,
}

impl QemuProcess {
    /// Starts QEMU. The kernel kills QEMU when this process ends.
    ///
    /// A fork gets its device state and the QMP commands that load it (`qmp::load_ahead`). The commands are in the
    /// socket before QEMU starts, so that QEMU never waits for the next command.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(qemu: &Path, arguments: &[OsString], inherited: Inherited) -> Result<Self, StartError> {
        let Inherited { state, files, debugger, link, frozen } = inherited;
        let pair = || -> io::Result<(StdUnixStream, OwnedFd)> {
            let (ours, theirs) = StdUnixStream::pair()?;
            ours.set_nonblocking(true)?;
            Ok((ours, theirs.into()))
        };
        let (control, control_fd) = pair().map_err(StartError::Sockets)?;
        let (mut qmp, qmp_fd) = pair().map_err(StartError::Sockets)?;
        let (console, console_fd) = io::pipe().map_err(StartError::Sockets)?;
        // If the pipe may not grow, for example because the user has many pipes, it keeps the default size.
        let _ = fcntl(&console, FcntlArg::F_SETPIPE_SZ(CONSOLE_BYTES));
        let monitor = qmp.try_clone().map_err(StartError::Sockets)?;
        let is_thaw = matches!(frozen, Some(Frozen::Thawed { .. }));
        let agreed = state.is_some() || is_thaw;
        if state.is_some() {
            qmp.write_all(&qmp::load_ahead(DESCRIPTORS.state)).map_err(StartError::Sockets)?;
        }
        let ours = |socket| UnixStream::from_std(socket).map_err(StartError::Sockets);
        let (control, qmp) = (ours(control)?, Some(ours(qmp)?));
        let console = pipe::Receiver::from_owned_fd(console.into()).map_err(StartError::Sockets)?;
        let mut mappings = vec![
            FdMapping { parent_fd: control_fd, child_fd: DESCRIPTORS.control },
            FdMapping { parent_fd: qmp_fd, child_fd: DESCRIPTORS.qmp },
            FdMapping { parent_fd: console_fd.into(), child_fd: DESCRIPTORS.console },
        ];
        mappings.extend(files.map(|socket| FdMapping { parent_fd: socket, child_fd: DESCRIPTORS.files }));
        mappings.extend(debugger.map(|socket| FdMapping { parent_fd: socket, child_fd: DESCRIPTORS.debugger }));
        mappings.extend(link.map(|socket| FdMapping { parent_fd: socket, child_fd: DESCRIPTORS.link }));
        mappings.extend(state.map(|file| FdMapping { parent_fd: file.into(), child_fd: DESCRIPTORS.state }));
        let launch = Launch::new(qemu, arguments, frozen, &mut mappings).map_err(StartError::Helper)?;
        let Launch { mut command, freezer, greeting } = launch;
        command.env("GLIBC_TUNABLES", MALLOC);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command.fd_mappings(mappings).map_err(StartError::Descriptors)?;
        let family = Family::spawn(&mut command, if is_thaw { Offspring::None } else { offspring(qemu) });
        let mut process = family.map_err(|source| StartError::Spawn { path: qemu.to_owned(), source })?;
        let (kept, mut listening) = (Arc::default(), JoinSet::new());
        if let Some(stderr) = process.child.stderr.take() {
            listening.spawn(keep_end(stderr, Arc::clone(&kept)));
        }
        // Dropping `command` closes our copies of QEMU's ends, so that the death of QEMU closes the sockets.
        Ok(Self { process, stderr: kept, listening, control, qmp, agreed, greeting, freezer, monitor, console })
    }

    /// Resumes a fork, now or as soon as its state is loaded (`qmp::wake`).
    ///
    /// # Errors
    /// As write(2), also if QEMU has ended.
    pub fn wake(&self) -> io::Result<()> {
        // The socket's buffer is empty, so a line of this length is written completely.
        (&self.monitor).write_all(&qmp::wake())
    }

    /// Kills QEMU and its children if they still run, reaps QEMU, and returns how it ended.
    ///
    /// # Errors
    /// As kill(2) and waitpid(2).
    pub async fn end(&mut self) -> io::Result<QemuEnded> {
        let by_itself = self.process.child.try_wait()?;
        self.process.kill()?;
        self.process.child.wait().await?;
        // The bytes that were read count, also after a timeout.
        let left_a_process = timeout(STDERR_LIMIT, self.listening.join_next()).await.is_err();
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let stderr = if kept.is_empty() { String::new() } else { quote::end_of(&kept) };
        Ok(QemuEnded { by_itself, stderr, left_a_process })
    }
}

/// Reads a stream to its end and keeps the last [`STDERR_KEPT`] bytes.
async fn keep_end(mut stream: ChildStderr, kept: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; STDERR_KEPT];
    // An error counts as the end; the bytes before it are kept.
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
    async fn an_unread_console_buffers_single_bytes() {
        let bytes = 30_000;
        let script =
            format!("i=0; while [ $i -lt {bytes} ]; do printf x >&{}; i=$((i + 1)); done", DESCRIPTORS.console);
        let mut qemu =
            QemuProcess::start(Path::new("/bin/sh"), &["-c".into(), script.into()], Inherited::default()).unwrap();
        assert!(qemu.process.child.wait().await.unwrap().success());
        let mut console = Vec::new();
        qemu.console.read_to_end(&mut console).await.unwrap();
        assert_eq!(console.len(), bytes);
    }
}
