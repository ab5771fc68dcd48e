//! The QMP events (docs/interop/qmp-ref, "Events") that verdicts and timings need. Pure.

use std::time::Instant;

use serde_json::Value;
pub use vmlab_events::loss::ShutdownReason;

/// An event and the time at which it was read from the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedQmpEvent {
    /// The time on the host's clock.
    pub at: Instant,
    /// The event.
    pub event: QmpEvent,
}

/// A QMP event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QmpEvent {
    /// QEMU's greeting, which precedes all events (docs/interop/qmp-spec, "Server Greeting").
    Greeting,
    /// SHUTDOWN: the guest ends, with the reason.
    Shutdown(ShutdownReason),
    /// RESET: the guest's machine was reset, with the reason. With `reboot=shutdown` only the host can cause this.
    Reset(ShutdownReason),
    /// `GUEST_PANICKED`, through pvpanic.
    GuestPanicked,
    /// WATCHDOG: a watchdog device of the guest expired.
    Watchdog {
        /// QEMU's action, for example `reset` or `pause`.
        action: String,
    },
    /// STOP: the guest is paused.
    Stopped,
    /// RESUME: the guest runs after a pause, or after its state was loaded.
    Resumed,
    /// MIGRATION: the progress of saving or loading device state.
    Migration {
        /// The status, for example `active`, `completed` or `failed`.
        status: String,
    },
    /// The reply to a command that vmlab sent without qapi.
    Reply {
        /// The command's name.
        command: String,
        /// QEMU's error; None if the command succeeded.
        error: Option<String>,
    },
    /// Another event, by name.
    Other(String),
}

pub(super) const OWN: &str = "vmlab:";

/// The event in a line; None for replies to commands of qapi, and for lines that are no QMP.
pub(super) fn parse(value: &Value) -> Option<QmpEvent> {
    if let Some(command) = value.get("id").and_then(Value::as_str).and_then(|id| id.strip_prefix(OWN)) {
        let error = value.pointer("/error/desc").and_then(Value::as_str).map(str::to_owned);
        return Some(QmpEvent::Reply { command: command.to_owned(), error });
    }
    if value.get("QMP").is_some() {
        return Some(QmpEvent::Greeting);
    }
    let name = value.get("event")?.as_str()?;
    let data = |field: &str| {
        let text = value.get("data").and_then(|data| data.get(field)).and_then(Value::as_str);
        text.unwrap_or("unknown").to_owned()
    };
    Some(match name {
        "SHUTDOWN" => QmpEvent::Shutdown(ShutdownReason::from_name(&data("reason"))),
        "RESET" => QmpEvent::Reset(ShutdownReason::from_name(&data("reason"))),
        "GUEST_PANICKED" => QmpEvent::GuestPanicked,
        "WATCHDOG" => QmpEvent::Watchdog { action: data("action") },
        "STOP" => QmpEvent::Stopped,
        "RESUME" => QmpEvent::Resumed,
        "MIGRATION" => QmpEvent::Migration { status: data("status") },
        other => QmpEvent::Other(other.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_as_qemu_7_2_writes_them() {
        let stamp = json!({"seconds": 1_700_000_000, "microseconds": 2});
        let shutdown =
            json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}, "timestamp": stamp});
        assert_eq!(parse(&shutdown), Some(QmpEvent::Shutdown(ShutdownReason::GuestReset)));
        let panicked = json!({"event": "GUEST_PANICKED", "data": {"action": "pause"}, "timestamp": stamp});
        assert_eq!(parse(&panicked), Some(QmpEvent::GuestPanicked));
        let watchdog = json!({"event": "WATCHDOG", "data": {"action": "reset"}, "timestamp": stamp});
        assert_eq!(parse(&watchdog), Some(QmpEvent::Watchdog { action: "reset".to_owned() }));
        let bare = json!({"event": "SHUTDOWN", "timestamp": stamp});
        assert_eq!(parse(&bare), Some(QmpEvent::Shutdown(ShutdownReason::Other("unknown".to_owned()))));
        assert_eq!(parse(&json!({"return": {}, "id": 4})), None);
        let refused = json!({"id": "vmlab:getfd", "error": {"class": "GenericError", "desc": "no"}});
        assert_eq!(
            parse(&refused),
            Some(QmpEvent::Reply { command: "getfd".to_owned(), error: Some("no".to_owned()) })
        );
    }
}
