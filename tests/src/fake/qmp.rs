//! The part of QMP that vmlab uses, as QEMU 7.2 speaks it (docs/interop/qmp-spec).

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

use super::script::Qmp;
use super::socket::Socket;

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "fake"}, "capabilities": ["oob"]}}"#;

/// The monitor. A thread of its own answers commands; events are sent from the player's thread.
#[derive(Debug, Clone)]
pub(super) struct Monitor {
    out: Arc<Mutex<Socket>>,
    /// The commands that were answered so far, in order.
    answered: Arc<(Mutex<Vec<String>>, Condvar)>,
}

/// The processor's registers.
pub const REGISTERS: &str = "\r\nCPU#0\r\nRIP=ffffffff81000000 RFL=00000046\r\n";
/// The content of the memory.
pub const MEMORY: &[u8] = b"\x7fELF and all that";

impl Monitor {
    pub(super) fn start(socket: Socket, manner: Qmp) -> Result<Self, String> {
        let monitor = Self { out: Arc::new(Mutex::new(socket)), answered: Arc::default() };
        match manner {
            Qmp::Closed => socket.close()?,
            Qmp::Silent => {}
            Qmp::Answers | Qmp::RefusesDumps => {
                monitor.line(GREETING)?;
                let answering = monitor.clone();
                thread::spawn(move || {
                    if let Err(fault) = answering.answer(socket, manner == Qmp::RefusesDumps) {
                        eprintln!("fake-qemu: QMP: {fault}");
                    }
                });
            }
        }
        Ok(monitor)
    }

    /// Sends an event. QEMU sends events only after the client has negotiated capabilities, so this waits for that: otherwise
    /// a script's events could be lost.
    pub(super) fn event(&self, text: &str) -> Result<bool, String> {
        self.wait_for("qmp_capabilities");
        self.line(text)
    }

    /// Waits until a command has been answered.
    pub(super) fn wait_for(&self, command: &str) {
        let (answered, changed) = &*self.answered;
        let waiting = answered.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |answered: &mut Vec<String>| !answered.iter().any(|known| known == command);
        drop(changed.wait_while(waiting, missing).unwrap_or_else(PoisonError::into_inner));
    }

    /// Sends one line.
    fn line(&self, text: &str) -> Result<bool, String> {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write(format!("{text}\r\n").as_bytes())
    }

    pub(super) fn close(&self) -> Result<(), String> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).close()
    }

    /// Answers commands until vmlab closes the connection.
    fn answer(&self, socket: Socket, refuses_dumps: bool) -> Result<(), String> {
        let mut waiting: Vec<u8> = Vec::new();
        let mut given: Option<File> = None;
        loop {
            let (bytes, file) = socket.read_with_file()?;
            given = file.or(given);
            if bytes.is_empty() {
                return Ok(());
            }
            waiting.extend(bytes);
            while let Some(end) = waiting.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                let command: Value = serde_json::from_slice(&line).map_err(|error| format!("no JSON: {error}"))?;
                let name = command["execute"].as_str().unwrap_or_default();
                let reply = match (name, &mut given) {
                    ("dump-guest-memory", Some(file))
                        if !refuses_dumps && command["arguments"]["protocol"] == "fd:core" =>
                    {
                        file.write_all(MEMORY).map_err(|error| format!("cannot write the memory: {error}"))?;
                        json!({"return": {}, "id": command["id"]})
                    }
                    ("dump-guest-memory", _) => {
                        let error = json!({"class": "GenericError", "desc": "dump: failed to save memory"});
                        json!({"error": error, "id": command["id"]})
                    }
                    _ => reply(&command),
                };
                self.line(&reply.to_string())?;
                if let Some(event) = consequence(&command) {
                    self.line(&event.to_string())?;
                }
                let (answered, changed) = &*self.answered;
                answered.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
                changed.notify_all();
            }
        }
    }
}

fn reply(command: &Value) -> Value {
    let id = &command["id"];
    match command["execute"].as_str() {
        Some("human-monitor-command") => json!({"return": REGISTERS, "id": id}),
        Some("qmp_capabilities" | "migrate-set-capabilities" | "getfd" | "cont" | "migrate" | "migrate-incoming") => {
            json!({"return": {}, "id": id})
        }
        Some("query-status") => {
            json!({"return": {"status": "running", "singlestep": false, "running": true}, "id": id})
        }
        other => {
            let desc = format!("The command {} has not been found", other.unwrap_or("nothing"));
            json!({"error": {"class": "CommandNotFound", "desc": desc}, "id": id})
        }
    }
}

/// The event that follows a command. Saving and loading take no time here, so the event follows at once.
fn consequence(command: &Value) -> Option<Value> {
    let timestamp = json!({"seconds": 0, "microseconds": 0});
    match command["execute"].as_str()? {
        "migrate" | "migrate-incoming" => {
            Some(json!({"timestamp": timestamp, "event": "MIGRATION", "data": {"status": "completed"}}))
        }
        // QEMU sends no event if the guest is not paused, but vmlab continues only paused guests.
        "cont" => Some(json!({"timestamp": timestamp, "event": "RESUME"})),
        _ => None,
    }
}
