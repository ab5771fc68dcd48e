//! QEMU's process and its channels as one stream of inputs.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::read;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::input::Input;
use vmlab_qemu::cpu_usage::CpuUsage;
use vmlab_qemu::process::{QemuEnded, QemuProcess};
use vmlab_qemu::qmp::{self, Qmp, QmpError, TimedQmpEvent};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// The most of the console or the control port that is taken in at once, in bytes: more than a socket or the pipe holds, so
/// that all that was there is among it, and a guest that writes without end is left again.
const NOW_LIMIT: usize = 2 << 20;
/// Inputs that are taken in after the deadline. What had come before it counts, where vmlab was stopped or had no
/// processor meanwhile; a guest that never pauses does not hold the deadline up.
const LATE_INPUTS: u32 = 64;

/// What happened next.
#[derive(Debug)]
pub(crate) enum Next {
    Input(Input),
    /// The deadline has passed.
    Deadline,
    /// The run is to end.
    Cancelled,
}

/// How long QEMU may take to say what state the guest is in.
const STATE_LIMIT: Duration = Duration::from_secs(1);

/// A QEMU, and how much of what it says has been read.
#[derive(Debug)]
pub(crate) struct Channels {
    qemu: QemuProcess,
    /// Agrees with QEMU at once: it tells no events before (docs/interop/qmp-spec, "Capabilities Negotiation").
    negotiating: JoinSet<Result<Qmp, QmpError>>,
    /// The monitor, once somebody has asked for it.
    qmp: Option<Qmp>,
    qmp_events: Option<mpsc::Receiver<TimedQmpEvent>>,
    control_open: bool,
    console_open: bool,
    exited: bool,
    late: u32,
    buffer: Box<[u8]>,
}

impl Channels {
    pub(crate) fn new(mut qemu: QemuProcess) -> Self {
        let (connecting, qmp_events) = qemu.qmp.take().map(qmp::pump).unzip();
        let mut negotiating = JoinSet::new();
        if let Some(connecting) = connecting {
            negotiating.spawn(connecting.negotiate(qemu.agreed));
        }
        let buffer = vec![0; CHUNK].into_boxed_slice();
        Self {
            qemu,
            negotiating,
            qmp: None,
            qmp_events,
            control_open: true,
            console_open: true,
            exited: false,
            late: 0,
            buffer,
        }
    }

    /// Waits for what happens next: an input, a passed deadline, or the end of the run. Reading and waiting lose nothing
    /// when they are dropped.
    ///
    /// The control port comes before the console: the driver passes the console's bytes ([`Self::console_now`]) on first.
    pub(crate) async fn next(
        &mut self,
        deadline: Instant,
        reads_control: bool,
        cancel: &CancellationToken,
    ) -> std::io::Result<Next> {
        self.late = if Instant::now() < deadline { 0 } else { self.late + 1 };
        if self.late > LATE_INPUTS && !cancel.is_cancelled() {
            return Ok(Next::Deadline);
        }
        let Self { qemu, qmp_events, control_open, console_open, exited, buffer, .. } = self;
        let listens = *control_open && reads_control;
        let QemuProcess { process, control, console, .. } = qemu;
        let (console_buffer, control_buffer) = buffer.split_at_mut(CHUNK / 2);
        let input = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Next::Cancelled),
            read = control.read(control_buffer), if listens => match read {
                Ok(count) if count > 0 => Input::Control(control_buffer[..count].to_vec()),
                Ok(_) => { *control_open = false; Input::ControlClosed }
                // QEMU closes with bytes of ours unread when it ends at once.
                Err(error) if is_end(&error) => { *control_open = false; Input::ControlClosed }
                Err(error) => return Err(error),
            },
            read = console.read(console_buffer), if *console_open => match read {
                Ok(count) if count > 0 => Input::Console(console_buffer[..count].to_vec()),
                Ok(_) => { *console_open = false; Input::ConsoleClosed }
                Err(error) if is_end(&error) => { *console_open = false; Input::ConsoleClosed }
                Err(error) => return Err(error),
            },
            event = next_event(qmp_events), if qmp_events.is_some() => event.map_or(Input::QmpClosed, Input::Qmp),
            status = process.wait(), if !*exited => { *exited = true; Input::Exited(status?) }
            // A timer that has expired may be reported before the sockets are checked: where vmlab was stopped, the message
            // that was waited for has been there all the time.
            () = tokio::time::sleep_until(deadline.into()) => {
                let socket = control.as_raw_fd();
                match listens.then(|| recv(socket, control_buffer, MsgFlags::MSG_DONTWAIT)) {
                    Some(Ok(count)) if count > 0 => Input::Control(control_buffer[..count].to_vec()),
                    _ => return Ok(Next::Deadline),
                }
            }
        };
        Ok(Next::Input(input))
    }

    /// The bytes of the console that are there now. What the guest's serial line was given before its control port was is
    /// among them: QEMU passes both on in order.
    ///
    /// This asks the kernel itself. tokio's `try_read` asks only once the reactor has heard of new bytes, and would
    /// give nothing for bytes that came a moment ago.
    pub(crate) fn console_now(&mut self) -> Vec<u8> {
        let Self { qemu, buffer, .. } = self;
        all_there(|| read(&qemu.console, buffer).map(|count| buffer[..count].to_vec()))
    }

    /// Likewise of the control port.
    pub(crate) fn control_now(&mut self) -> Vec<u8> {
        let Self { qemu, buffer, .. } = self;
        let socket = qemu.control.as_raw_fd();
        all_there(|| recv(socket, buffer, MsgFlags::MSG_DONTWAIT).map(|count| buffer[..count].to_vec()))
    }

    /// Writes to the control port.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.qemu.control.write_all(bytes).await
    }

    /// Lets a fork run, now or as soon as it is loaded; QMP tells when it does.
    pub(crate) fn wake(&self) -> std::io::Result<()> {
        self.qemu.wake()
    }

    /// The monitor, for commands.
    pub(crate) async fn monitor(&mut self) -> Result<&Qmp, QmpError> {
        let qmp = match self.qmp.take() {
            Some(qmp) => qmp,
            None => match self.negotiating.join_next().await {
                Some(Ok(agreed)) => agreed?,
                Some(Err(error)) => return Err(QmpError::Negotiation(error.into())),
                None => return Err(QmpError::Negotiation(std::io::Error::other("it did not before"))),
            },
        };
        Ok(self.qmp.insert(qmp))
    }

    /// What QEMU says of the guest's state, for the report on a guest that hangs; or why it does not.
    pub(crate) async fn state_by_qmp(&mut self) -> Result<String, String> {
        let asked = async {
            let qmp = self.monitor().await.map_err(|error| error.to_string())?;
            qmp.status().await.map_err(|error| error.to_string())
        };
        // The limit that has brought us here has passed; a QEMU that hangs itself must not stretch it.
        let state = tokio::time::timeout(STATE_LIMIT, asked).await;
        state.unwrap_or_else(|_| Err("QEMU does not answer".to_owned()))
    }

    /// How QEMU fares on this host; None where it is gone.
    pub(crate) fn cpu_usage(&self) -> Option<CpuUsage> {
        self.qemu.process.id().and_then(CpuUsage::of)
    }

    /// Kills QEMU where it still runs, and gives what is left to be read, and how QEMU ended.
    pub(crate) async fn end(&mut self) -> Rest {
        let Self { qemu, .. } = self;
        // Its end closes the console, and what it had passed on is read to the last byte.
        let qemu = qemu.end().await;
        let mut told = Vec::new();
        while let Some(next) = self.qmp_events.as_mut().and_then(|events| events.try_recv().ok()) {
            told.push(next);
        }
        Rest { console: self.console_now(), told, qemu }
    }
}

/// What is left of a guest whose QEMU has ended.
#[derive(Debug)]
pub(crate) struct Rest {
    /// The end of its console.
    pub(crate) console: Vec<u8>,
    /// What QMP had told of and nobody had asked for yet.
    pub(crate) told: Vec<TimedQmpEvent>,
    /// How it ended.
    pub(crate) qemu: std::io::Result<QemuEnded>,
}

pub(crate) fn is_end(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
}

/// All that can be read now, by something that does not wait.
fn all_there(mut read: impl FnMut() -> nix::Result<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < NOW_LIMIT {
        match read() {
            Ok(more) if !more.is_empty() => bytes.extend(more),
            Err(Errno::EINTR) => {}
            // Nothing more now, or the end, which `next` sees.
            Ok(_) | Err(_) => break,
        }
    }
    bytes
}

/// The next event; none where there will be none any more, which then is kept in mind.
async fn next_event(events: &mut Option<mpsc::Receiver<TimedQmpEvent>>) -> Option<TimedQmpEvent> {
    let event = events.as_mut()?.recv().await;
    if event.is_none() {
        *events = None;
    }
    event
}
