//! Everything that a running guest can do to its host, as one stream of inputs.

use std::os::fd::AsRawFd as _;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::vm::process::{QemuEnd, QemuProcess};
use crate::vm::qmp::{self, Connecting, Qmp, QmpError, QmpEvent};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// What happened next.
#[derive(Debug)]
pub(super) enum Input {
    /// Bytes came on the control port.
    Control(Vec<u8>),
    /// The control port was closed.
    ControlClosed,
    /// Bytes came on the console.
    Console(Vec<u8>),
    /// The console was closed.
    ConsoleClosed,
    /// QMP told of an event.
    Qmp(QmpEvent),
    /// QEMU has ended.
    Exited(ExitStatus),
    /// The deadline has passed.
    Deadline,
    /// The run is to end.
    Cancelled,
}

/// A QEMU and what it has said and not said yet.
#[derive(Debug)]
pub(super) struct Inputs {
    qemu: QemuProcess,
    qmp: Option<Connecting>,
    qmp_events: Option<mpsc::Receiver<QmpEvent>>,
    control_open: bool,
    console_open: bool,
    exited: bool,
    buffer: Box<[u8]>,
}

impl Inputs {
    pub(super) fn new(mut qemu: QemuProcess) -> Self {
        let (qmp, qmp_events) = qemu.qmp.take().map(qmp::pump).unzip();
        let buffer = vec![0; CHUNK].into_boxed_slice();
        Self { qemu, qmp, qmp_events, control_open: true, console_open: true, exited: false, buffer }
    }

    /// Waits for what happens next. Reading and waiting lose nothing when they are dropped.
    ///
    /// The control port comes before the console: whoever judges takes the console's bytes with
    /// [`Self::console_now`] first.
    pub(super) async fn next(&mut self, deadline: Instant, cancel: &CancellationToken) -> std::io::Result<Input> {
        let Self { qemu, qmp_events, control_open, console_open, exited, buffer, .. } = self;
        let QemuProcess { process, control, console, .. } = qemu;
        let (console_buffer, control_buffer) = buffer.split_at_mut(CHUNK / 2);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(Input::Cancelled),
            read = control.read(control_buffer), if *control_open => match read {
                Ok(count) if count > 0 => Ok(Input::Control(control_buffer[..count].to_vec())),
                Ok(_) => { *control_open = false; Ok(Input::ControlClosed) }
                // QEMU closes with bytes of ours unread when it ends at once.
                Err(error) if is_end(&error) => { *control_open = false; Ok(Input::ControlClosed) }
                Err(error) => Err(error),
            },
            read = console.read(console_buffer), if *console_open => match read {
                Ok(count) if count > 0 => Ok(Input::Console(console_buffer[..count].to_vec())),
                Ok(_) => { *console_open = false; Ok(Input::ConsoleClosed) }
                Err(error) if is_end(&error) => { *console_open = false; Ok(Input::ConsoleClosed) }
                Err(error) => Err(error),
            },
            event = next_event(qmp_events) => Ok(Input::Qmp(event)),
            status = process.wait(), if !*exited => { *exited = true; Ok(Input::Exited(status?)) }
            () = tokio::time::sleep_until(deadline) => Ok(Input::Deadline),
        }
    }

    /// The bytes of the console that are there now. What the kernel printed before it said something on the control
    /// port is among them: QEMU passes both on in order.
    ///
    /// This asks the kernel itself. tokio's `try_read` asks only once the reactor has heard of new bytes, and would
    /// give nothing for bytes that came a moment ago.
    pub(super) fn console_now(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let console = self.qemu.console.as_raw_fd();
        loop {
            match recv(console, &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(count) if count > 0 => bytes.extend_from_slice(&self.buffer[..count]),
                Err(Errno::EINTR) => {}
                // Nothing more now, or the end, which `next` sees.
                Ok(_) | Err(_) => return bytes,
            }
        }
    }

    /// Whether QEMU has ended and said all that it ever will.
    pub(super) const fn is_over(&self) -> bool {
        self.exited && !self.control_open && !self.console_open
    }

    /// Writes to the control port.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.qemu.control.write_all(bytes).await
    }

    /// The monitor, for commands.
    pub(super) async fn connect_qmp(&mut self) -> Result<Qmp, QmpError> {
        match self.qmp.take() {
            Some(connecting) => connecting.negotiate().await,
            None => Err(QmpError::Negotiation(std::io::Error::other("QMP was taken before"))),
        }
    }

    /// What QEMU says of the guest's state, for the report on a guest that hangs.
    pub(super) async fn state_by_qmp(&mut self) -> String {
        match self.connect_qmp().await {
            Ok(qmp) => qmp.status().await.unwrap_or_else(|error| format!("unknown: {error}")),
            Err(error) => format!("unknown: {error}"),
        }
    }

    /// Kills QEMU where it still runs, and gives the rest of the console and how QEMU ended.
    pub(super) async fn end(mut self) -> (Vec<u8>, std::io::Result<QemuEnd>) {
        let Self { qemu, .. } = &mut self;
        // Its end closes the console, and what it had passed on is read to the last byte.
        let end = qemu.end().await;
        (self.console_now(), end)
    }
}

pub(super) fn is_end(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
}

/// The next event; never, once there will be none.
async fn next_event(events: &mut Option<mpsc::Receiver<QmpEvent>>) -> QmpEvent {
    if let Some(receiver) = events {
        if let Some(event) = receiver.recv().await {
            return event;
        }
        *events = None;
    }
    std::future::pending().await
}
