//! Reads QEMU's process and its channels as one stream of inputs.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::read;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::input::Input;
use vmlab_events::error::chain;
use vmlab_qemu::cpu_usage::CpuUsage;
use vmlab_qemu::frozen::{FreezeError, Freezer};
use vmlab_qemu::process::{QemuEnded, QemuProcess};
use vmlab_qemu::qmp::{self, Qmp, QmpError, TimedQmpEvent};
use vmlab_qemu::template::frozen::FrozenImage;

/// The size of the read buffer, in bytes.
const CHUNK: usize = 64 * 1024;
/// The limit of bytes that are read from the console or the control port at once. It is larger than the buffer of a
/// socket or pipe, so all pending bytes are read, and reading ends even if a guest writes without end.
const NOW_LIMIT: usize = 2 << 20;
/// The number of inputs that are read after the deadline. If vmlab was stopped or had no processor, pending inputs
/// arrived before the deadline and count. The limit prevents a guest that never pauses from delaying the deadline.
const LATE_INPUTS: u32 = 64;

/// The next thing that happens.
#[derive(Debug)]
pub(crate) enum Next {
    Input(Input),
    /// A part of what waited was written to the control port, or could not be written.
    Written(std::io::Result<()>),
    /// The deadline has passed.
    Deadline,
    /// The run must end.
    Cancelled,
}

/// The time limit for asking QEMU for the guest's state.
const STATE_LIMIT: Duration = Duration::from_secs(1);
/// The time limit for freezing QEMU, which writes some 70 MiB.
const FREEZE_LIMIT: Duration = Duration::from_secs(30);

/// A QEMU process and its channels.
#[derive(Debug)]
pub(crate) struct Channels {
    qemu: QemuProcess,
    /// Negotiates capabilities with QEMU, which sends no events before (docs/interop/qmp-spec, "Capabilities
    /// Negotiation").
    negotiating: JoinSet<Result<Qmp, QmpError>>,
    /// The monitor, once it was used.
    qmp: Option<Qmp>,
    qmp_events: Option<mpsc::Receiver<TimedQmpEvent>>,
    control_open: bool,
    console_open: bool,
    exited: bool,
    late: u32,
    buffer: Box<[u8]>,
    /// What waits for room in the control port's socket. The windows of commands limit it.
    outbox: VecDeque<u8>,
}

impl Channels {
    pub(crate) fn new(mut qemu: QemuProcess) -> Self {
        let (connecting, qmp_events) = qemu.qmp.take().map(|stream| qmp::pump(stream, qemu.greeting.take())).unzip();
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
            outbox: VecDeque::new(),
        }
    }

    /// Waits for an input, the deadline, or the end of the run. Dropping the future loses no input.
    ///
    /// The control port has priority over the console, because the driver passes on the console's bytes first
    /// ([`Self::console_now`]).
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
        let Self { qemu, qmp_events, control_open, console_open, exited, buffer, outbox, .. } = self;
        let listens = *control_open && reads_control;
        let QemuProcess { process, control, console, .. } = qemu;
        let (console_buffer, control_buffer) = buffer.split_at_mut(CHUNK / 2);
        let (mut reading, writing) = control.split();
        let input = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Next::Cancelled),
            ready = writing.ready(Interest::WRITABLE), if *control_open && !outbox.is_empty() => {
                let written = ready.and_then(|_| write_from(outbox, |bytes| writing.try_write(bytes)));
                return Ok(Next::Written(written));
            }
            read = reading.read(control_buffer), if listens => match read {
                Ok(count) if count > 0 => Input::Control(control_buffer[..count].to_vec()),
                Ok(_) => { *control_open = false; Input::ControlClosed }
                // QEMU has ended without reading all of the host's bytes.
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
            status = process.child.wait(), if !*exited => { *exited = true; Input::Exited(status?) }
            // An expired timer may be reported before the sockets are checked. If vmlab was stopped, the expected
            // message may have arrived in time.
            () = tokio::time::sleep_until(deadline.into()) => {
                let socket = reading.as_ref().as_raw_fd();
                match listens.then(|| recv(socket, control_buffer, MsgFlags::MSG_DONTWAIT)) {
                    Some(Ok(count)) if count > 0 => Input::Control(control_buffer[..count].to_vec()),
                    _ => return Ok(Next::Deadline),
                }
            }
        };
        Ok(Next::Input(input))
    }

    /// The pending bytes of the console. They include everything that the guest wrote to its serial line before its
    /// last message on the control port, because QEMU passes on both in order.
    ///
    /// This calls read(2) directly. tokio's `try_read` returns nothing until the reactor has reported new bytes.
    pub(crate) fn console_now(&mut self) -> Vec<u8> {
        let Self { qemu, buffer, .. } = self;
        all_there(|| read(&qemu.console, buffer).map(|count| buffer[..count].to_vec()))
    }

    /// The pending bytes of the control port.
    pub(crate) fn control_now(&mut self) -> Vec<u8> {
        let Self { qemu, buffer, .. } = self;
        let socket = qemu.control.as_raw_fd();
        all_there(|| recv(socket, buffer, MsgFlags::MSG_DONTWAIT).map(|count| buffer[..count].to_vec()))
    }

    /// Writes to the control port. What has no room yet is written by [`Self::next`]: a guest that reads nothing holds up nothing
    /// else.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.outbox.extend(bytes);
        write_from(&mut self.outbox, |bytes| self.qemu.control.try_write(bytes))
    }

    /// Lets a fork run, now or as soon as it is loaded. QMP reports when it runs.
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
                None => return Err(QmpError::Negotiation(std::io::Error::other("it failed before"))),
            },
        };
        Ok(self.qmp.insert(qmp))
    }

    /// The guest's state as reported by QEMU, for the report on a guest that hangs. The error says why QEMU gave none.
    pub(crate) async fn state_by_qmp(&mut self) -> Result<String, String> {
        let asked = async {
            let qmp = self.monitor().await.map_err(|error| error.to_string())?;
            qmp.status().await.map_err(|error| error.to_string())
        };
        // The guest's own limit has passed; a hanging QEMU must not extend it.
        let state = tokio::time::timeout(STATE_LIMIT, asked).await;
        state.unwrap_or_else(|_| Err("QEMU does not answer".to_owned()))
    }

    /// QEMU's CPU usage; None if the process is gone.
    pub(crate) fn cpu_usage(&mut self) -> Option<CpuUsage> {
        let child = self.qemu.process.child.id()?;
        // The child is the freezer, if there is one.
        let qemu = self.qemu.freezer.as_mut().map_or(Some(child), Freezer::qemu);
        qemu.and_then(CpuUsage::of)
    }

    /// Whether QEMU can be frozen.
    pub(crate) const fn has_freezer(&self) -> bool {
        self.qemu.freezer.is_some()
    }

    /// Freezes QEMU, which is paused. QEMU has ended when this succeeds. The error is the reason for a notice.
    pub(crate) async fn freeze(&mut self) -> Result<FrozenImage, String> {
        let qmp = self.monitor().await.map_err(|error| error.to_string())?;
        // The answer also says that QEMU has sent everything before it.
        let status = qmp.status().await.map_err(|error| error.to_string())?;
        let greeting = qmp.greeting().to_owned();
        if status == "running" || greeting.is_empty() {
            return Err(format!("QEMU reports that its guest is {status}"));
        }
        let Some(freezer) = self.qemu.freezer.as_mut() else { return Err("QEMU has no freezer".to_owned()) };
        let frozen = tokio::time::timeout(FREEZE_LIMIT, freezer.freeze()).await;
        let frozen = frozen.unwrap_or_else(|_| Err(FreezeError::Channel(ErrorKind::TimedOut.into())));
        let figures = frozen.map_err(|error| chain(&error))?.text;
        Ok(FrozenImage { greeting, figures })
    }

    /// Kills QEMU if it still runs; returns the unread rest of its channels, and how it ended.
    pub(crate) async fn end(&mut self) -> Rest {
        let Self { qemu, .. } = self;
        // QEMU's end closes the console, which is then read to the end.
        let qemu = qemu.end().await;
        let mut qmp = Vec::new();
        while let Some(next) = self.qmp_events.as_mut().and_then(|events| events.try_recv().ok()) {
            qmp.push(next);
        }
        Rest { console: self.console_now(), qmp, qemu }
    }
}

/// The rest of the channels after QEMU's end.
#[derive(Debug)]
pub(crate) struct Rest {
    /// The rest of the console.
    pub(crate) console: Vec<u8>,
    /// The unread events of QMP.
    pub(crate) qmp: Vec<TimedQmpEvent>,
    /// How QEMU ended.
    pub(crate) qemu: std::io::Result<QemuEnded>,
}

/// Writes what has room now.
fn write_from(outbox: &mut VecDeque<u8>, write: impl Fn(&[u8]) -> std::io::Result<usize>) -> std::io::Result<()> {
    while !outbox.is_empty() {
        match write(outbox.as_slices().0) {
            Ok(count) => drop(outbox.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                outbox.clear();
                return Err(error);
            }
        }
    }
    Ok(())
}

pub(crate) fn is_end(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
}

/// Reads all pending bytes with a non-blocking `read`.
fn all_there(mut read: impl FnMut() -> nix::Result<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < NOW_LIMIT {
        match read() {
            Ok(more) if !more.is_empty() => bytes.extend(more),
            Err(Errno::EINTR) => {}
            // No more pending bytes, or the end, which `next` reports.
            Ok(_) | Err(_) => break,
        }
    }
    bytes
}

/// The next event; None if QMP has ended, which clears `events`.
async fn next_event(events: &mut Option<mpsc::Receiver<TimedQmpEvent>>) -> Option<TimedQmpEvent> {
    let event = events.as_mut()?.recv().await;
    if event.is_none() {
        *events = None;
    }
    event
}
