//! QMP as QEMU 7.2 speaks it, as far as vmlab asks (docs/interop/qmp-spec).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

use super::script::Qmp;
use super::socket::Socket;

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "fake"}, "capabilities": ["oob"]}}"#;

/// The monitor: commands are answered by a thread of its own, events go out as they come.
#[derive(Debug, Clone)]
pub(super) struct Monitor {
    out: Arc<Mutex<Socket>>,
    negotiated: Arc<(Mutex<bool>, Condvar)>,
}

impl Monitor {
    pub(super) fn start(socket: Socket, manner: Qmp) -> Result<Self, String> {
        let monitor = Self { out: Arc::new(Mutex::new(socket)), negotiated: Arc::default() };
        match manner {
            Qmp::Closed => socket.close()?,
            Qmp::Silent => {}
            Qmp::Answers => {
                monitor.line(GREETING)?;
                let answering = monitor.clone();
                thread::spawn(move || {
                    if let Err(fault) = answering.answer(socket) {
                        eprintln!("fake-qemu: QMP: {fault}");
                    }
                });
            }
        }
        Ok(monitor)
    }

    /// Tells an event. Like QEMU, it does so only to whoever has negotiated; it waits for that, so that a script's events
    /// are not lost by chance.
    pub(super) fn event(&self, text: &str) -> Result<bool, String> {
        let (negotiated, changed) = &*self.negotiated;
        let waiting = negotiated.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(waiting, |negotiated| !*negotiated).unwrap_or_else(PoisonError::into_inner));
        self.line(text)
    }

    /// Says one line.
    fn line(&self, text: &str) -> Result<bool, String> {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write(format!("{text}\r\n").as_bytes())
    }

    pub(super) fn close(&self) -> Result<(), String> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).close()
    }

    /// Answers until vmlab goes.
    fn answer(&self, socket: Socket) -> Result<(), String> {
        let mut waiting: Vec<u8> = Vec::new();
        loop {
            let bytes = socket.read()?;
            if bytes.is_empty() {
                return Ok(());
            }
            waiting.extend(bytes);
            while let Some(end) = waiting.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                let command: Value = serde_json::from_slice(&line).map_err(|error| format!("no JSON: {error}"))?;
                self.line(&reply(&command).to_string())?;
                if let Some(event) = consequence(&command) {
                    self.line(&event.to_string())?;
                }
                if command["execute"] == "qmp_capabilities" {
                    let (negotiated, changed) = &*self.negotiated;
                    *negotiated.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    changed.notify_all();
                }
            }
        }
    }
}

fn reply(command: &Value) -> Value {
    let id = &command["id"];
    match command["execute"].as_str() {
        Some("qmp_capabilities" | "migrate-set-capabilities" | "getfd" | "migrate" | "migrate-incoming") => {
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

/// The event that follows a command at once: saving and loading take no time here.
fn consequence(command: &Value) -> Option<Value> {
    let timestamp = json!({"seconds": 0, "microseconds": 0});
    match command["execute"].as_str()? {
        "migrate" => Some(json!({"timestamp": timestamp, "event": "MIGRATION", "data": {"status": "completed"}})),
        "migrate-incoming" => Some(json!({"timestamp": timestamp, "event": "RESUME"})),
        _ => None,
    }
}
