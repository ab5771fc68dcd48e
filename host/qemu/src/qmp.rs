//! QMP: the crate qapi handles commands; a pump in this module handles events.
//!
//! qapi 0.15 knows the events of one QEMU version; an unknown event ends its stream and fails all commands in flight.
//! The pump therefore takes events out of the stream and passes only the greeting and replies to qapi.

use std::fmt;
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use qapi::ExecuteError;
use qapi::futures::{QapiService, QmpStreamTokio};
use qapi::qmp::{self, QmpCommand};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use event::OWN;
pub use event::{QmpEvent, ShutdownReason, TimedQmpEvent};

mod event;

/// The maximum length of a QMP line, in bytes.
const LINE_LIMIT: u64 = 1 << 20;
/// The capacity of the event queue. If it is full, the pump stops reading from QEMU.
const EVENTS_WAITING: usize = 64;
/// The time limit for the reply to a command.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

fn own(command: &str, arguments: &Value) -> Vec<u8> {
    let mut line = json!({ "execute": command, "arguments": arguments, "id": format!("{OWN}{command}") }).to_string();
    line.push('\n');
    line.into_bytes()
}

/// The commands that load a fork's device state from a descriptor, to be sent before QEMU starts.
/// [`QmpEvent::Migration`] reports the end of loading.
#[must_use]
pub(crate) fn load_ahead(state: i32) -> Vec<u8> {
    let on = |name: &str| json!({ "capability": name, "state": true });
    let capabilities = json!({ "capabilities": [on("x-ignore-shared"), on("events")] });
    [
        own("qmp_capabilities", &json!({})),
        own("migrate-set-capabilities", &capabilities),
        own("migrate-incoming", &json!({ "uri": format!("fd:{state}") })),
    ]
    .concat()
}

/// The command that resumes a fork, now or as soon as its state is loaded: QEMU remembers the command while it loads
/// (`qmp_cont` in QEMU's monitor/qmp-cmds.c). [`QmpEvent::Resumed`] reports that the fork runs.
#[must_use]
pub(crate) fn wake() -> Vec<u8> {
    own("cont", &json!({}))
}

/// Why QMP failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The handshake failed: no greeting, or capabilities were refused.
    #[error("the QMP handshake failed: {0}")]
    Negotiation(std::io::Error),
    /// QEMU answered a command with an error.
    #[error("QMP command {command}: {detail}")]
    Refused {
        /// The command's name.
        command: &'static str,
        /// QEMU's error.
        detail: String,
    },
    /// The command could not be sent, or the stream ended.
    #[error("QMP command {command}: {detail}")]
    Command {
        /// The command's name.
        command: &'static str,
        /// The reason.
        detail: String,
    },
    /// QEMU did not reply within the time limit.
    #[error("QMP: no reply to {command} within {limit_s} s")]
    Silent {
        /// The command's name.
        command: &'static str,
        /// The time limit, in seconds.
        limit_s: u64,
    },
}

/// A QMP connection after the handshake. Dropping it ends its tasks.
pub struct Qmp {
    service: QapiService<QmpStreamTokio<OwnedWriteHalf>>,
    _tasks: JoinSet<()>,
    socket: OwnedFd,
    /// Without QEMU's capability `oob`, commands have no ids: only one may be in flight, and after one without a reply none can
    /// follow, because qapi 0.15 panics then. The value says whether a command is without a reply.
    one_by_one: Option<Mutex<bool>>,
    greeted: Arc<OnceLock<String>>,
}

impl fmt::Debug for Qmp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Qmp")
    }
}

/// Starts the pump on a new connection. The receiver gets all events from the first one on, even without a handshake.
///
/// A thawed QEMU has sent its `greeting` before it was frozen. It is reported again, and so is that the state is loaded: the QEMU waits
/// to be resumed.
#[must_use]
pub fn pump(stream: UnixStream, greeting: Option<String>) -> (Connecting, mpsc::Receiver<TimedQmpEvent>) {
    // Without a duplicate of the socket, `negotiate` returns an error.
    let socket = stream.as_fd().try_clone_to_owned().ok();
    let (read, write) = stream.into_split();
    let (replies_in, replies) = tokio::io::duplex(64 * 1024);
    let (events_in, events) = mpsc::channel(EVENTS_WAITING);
    let mut tasks = JoinSet::new();
    let greeted = Arc::default();
    tasks.spawn(split(read, replies_in, events_in, greeting, Arc::clone(&greeted)));
    (Connecting { replies, write, tasks, socket, greeted }, events)
}

/// A connection before the handshake.
#[derive(Debug)]
pub struct Connecting {
    replies: DuplexStream,
    write: OwnedWriteHalf,
    tasks: JoinSet<()>,
    /// A duplicate of the socket, for messages that carry a descriptor; None if duplication failed.
    socket: Option<OwnedFd>,
    greeted: Arc<OnceLock<String>>,
}

impl Connecting {
    /// Performs the handshake. `agreed` means that its commands were already sent in advance.
    ///
    /// # Errors
    /// [`QmpError::Negotiation`], [`QmpError::Silent`].
    pub fn negotiate(mut self, agreed: bool) -> BoxFuture<'static, Result<Qmp, QmpError>> {
        Box::pin(async move {
            let socket =
                self.socket.ok_or_else(|| QmpError::Negotiation(std::io::Error::other("no second descriptor")))?;
            let negotiation = async {
                let opened = QmpStreamTokio::open_split(self.replies, self.write).await?;
                let has_ids =
                    opened.capabilities.capabilities().any(|capability| capability == qmp::QMPCapability::oob);
                let one_by_one = (!has_ids).then(Mutex::default);
                let stream = if agreed { opened.stream } else { opened.negotiate().await? };
                std::io::Result::Ok((stream, one_by_one))
            };
            let (stream, one_by_one) = timeout(REPLY_LIMIT, negotiation)
                .await
                .map_err(|_| QmpError::Silent { command: "qmp_capabilities", limit_s: REPLY_LIMIT.as_secs() })?
                .map_err(QmpError::Negotiation)?;
            let (service, events) = stream.into_parts();
            // qapi's event stream also completes its commands, so it must be polled.
            self.tasks.spawn(events.into_future());
            Ok(Qmp { service, _tasks: self.tasks, socket, one_by_one, greeted: self.greeted })
        })
    }
}

impl Qmp {
    /// The line with which QEMU has greeted.
    #[must_use]
    pub fn greeting(&self) -> &str {
        self.greeted.get().map_or("", String::as_str)
    }

    /// Executes a command. Several commands may be in flight.
    ///
    /// # Errors
    /// [`QmpError::Refused`], [`QmpError::Command`], [`QmpError::Silent`].
    pub async fn execute<C: QmpCommand + 'static>(&self, command: C) -> Result<C::Ok, QmpError> {
        self.execute_within(command, REPLY_LIMIT).await
    }

    async fn execute_within<C: QmpCommand + 'static>(&self, command: C, limit: Duration) -> Result<C::Ok, QmpError> {
        let name = C::NAME;
        let mut is_unanswered = match &self.one_by_one {
            None => None,
            Some(one_by_one) => Some(one_by_one.lock().await),
        };
        if let Some(is_unanswered) = &mut is_unanswered
            && std::mem::replace(&mut **is_unanswered, true)
        {
            let detail = "QEMU has not answered an earlier command".to_owned();
            return Err(QmpError::Command { command: name, detail });
        }
        let silent = |_| QmpError::Silent { command: name, limit_s: limit.as_secs() };
        let reply = timeout(limit, self.service.execute(command)).await.map_err(silent)?;
        if let (Some(is_unanswered), Ok(_) | Err(ExecuteError::Qapi(_))) = (&mut is_unanswered, &reply) {
            **is_unanswered = false;
        }
        reply.map_err(|error| match error {
            ExecuteError::Qapi(error) => QmpError::Refused { command: name, detail: error.to_string() },
            ExecuteError::Io(error) => QmpError::Command { command: name, detail: error.to_string() },
        })
    }

    /// Starts saving the guest's device state to a file, while the guest continues to run. The guest's memory stays in
    /// its shared file. [`QmpEvent::Migration`] reports the end; the guest is then paused.
    ///
    /// # Errors
    /// [`QmpError`]
    pub async fn save(&self, state: &File) -> Result<(), QmpError> {
        let on = |capability| qmp::MigrationCapabilityStatus { capability, state: true };
        self.execute(qmp::migrate_set_capabilities {
            capabilities: vec![on(qmp::MigrationCapability::x_ignore_shared), on(qmp::MigrationCapability::events)],
        })
        .await?;
        self.give("state", state)?;
        let uri = Some("fd:state".to_owned());
        self.execute(qmp::migrate { channels: None, detach: None, resume: None, uri }).await?;
        Ok(())
    }

    /// Passes a descriptor to QEMU under a name: `getfd` with `SCM_RIGHTS` (unix(7)), which qapi does not support. If
    /// QEMU refuses, the command that uses the name fails.
    fn give(&self, name: &str, file: &File) -> Result<(), QmpError> {
        let line = own("getfd", &json!({ "fdname": name }));
        let rights = [file.as_raw_fd()];
        let sent = sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&line)],
            &[ControlMessage::ScmRights(&rights)],
            MsgFlags::empty(),
            None,
        );
        match sent {
            Ok(count) if count == line.len() => Ok(()),
            Ok(_) => Err(QmpError::Command { command: "getfd", detail: "the message was truncated".to_owned() }),
            Err(error) => Err(QmpError::Command { command: "getfd", detail: error.to_string() }),
        }
    }

    /// The CPUs' registers in the format of QEMU's monitor (docs/system/monitor.rst, "info registers"). The guest may
    /// be running.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn registers(&self) -> Result<String, QmpError> {
        let command_line = "info registers -a".to_owned();
        self.execute(qmp::human_monitor_command { cpu_index: None, command_line }).await
    }

    /// Resumes a paused guest.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn resume(&self) -> Result<(), QmpError> {
        self.execute(qmp::cont {}).await.map(drop)
    }

    /// Writes the guest's memory to a file as an ELF core with physical addresses (docs/interop/qmp-ref,
    /// `dump-guest-memory`). QEMU pauses the guest meanwhile, and writes to the passed descriptor.
    ///
    /// # Errors
    /// As [`Self::execute`], with the caller's time limit.
    pub async fn dump(&self, core: &File, limit: Duration) -> Result<(), QmpError> {
        self.give("core", core)?;
        let command = qmp::dump_guest_memory {
            paging: false,
            protocol: "fd:core".to_owned(),
            detach: None,
            begin: None,
            length: None,
            format: Some(qmp::DumpGuestMemoryFormat::elf),
        };
        self.execute_within(command, limit).await.map(drop)
    }

    /// The guest's status, for example `running`, `paused` or `internal-error`.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn status(&self) -> Result<String, QmpError> {
        let info = self.execute(qmp::query_status {}).await?;
        // An enum without fields serialises to a string. The status is only shown, so that it may be unknown.
        let status = serde_json::to_value(info.status).ok();
        Ok(status.as_ref().and_then(Value::as_str).unwrap_or("unknown").to_owned())
    }
}

/// Reads lines until the stream ends; sends events to `events` and everything else to `replies`.
async fn split(
    read: OwnedReadHalf,
    mut replies: DuplexStream,
    events: mpsc::Sender<TimedQmpEvent>,
    earlier: Option<String>,
    greeted: Arc<OnceLock<String>>,
) {
    use tokio::io::AsyncReadExt as _;
    if let Some(greeting) = earlier {
        // As below: a receiver that was dropped ends nothing.
        drop(replies.write_all(greeting.as_bytes()).await);
        for event in [QmpEvent::Greeting, QmpEvent::Migration { status: "completed".to_owned() }] {
            drop(events.send(TimedQmpEvent { at: Instant::now(), event }).await);
        }
    }
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        // The end of the stream, an error and an overlong line all end QMP. The end of QEMU is detected elsewhere.
        match (&mut reader).take(LINE_LIMIT).read_until(b'\n', &mut line).await {
            Ok(count) if count > 0 && line.ends_with(b"\n") => {}
            _ => return,
        }
        let at = Instant::now();
        let event = serde_json::from_slice::<Value>(&line).ok().and_then(|value| event::parse(&value));
        // qapi waits for the greeting, too.
        let is_reply = matches!(event, None | Some(QmpEvent::Greeting));
        if event == Some(QmpEvent::Greeting) {
            // There is one greeting, so that this is the first value.
            let _ = greeted.set(String::from_utf8_lossy(&line).into_owned());
        }
        // If a receiver was dropped, the other may still be in use. Only the end of the stream ends this task.
        if let Some(event) = event {
            drop(events.send(TimedQmpEvent { at, event }).await);
        }
        if is_reply {
            drop(replies.write_all(&line).await);
        }
    }
}

#[cfg(test)]
mod tests;
