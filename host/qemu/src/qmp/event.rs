//! The events of QMP (docs/interop/qmp-ref, "Events") that a verdict or the timings need. Pure.

use std::time::Instant;

use serde_json::Value;
pub use vmlab_events::loss::ShutdownReason;

/// An event and when it was read from the socket, whoever reads it from here and whenever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// On the host's clock.
    pub at: Instant,
    /// What happened.
    pub event: QmpEvent,
}

/// An event that a verdict or the timings may need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QmpEvent {
    /// No event but the greeting, the first that QEMU says (docs/interop/qmp-spec, "Server Greeting").
    Greeting,
    /// SHUTDOWN: the guest ends, and why.
    Shutdown(ShutdownReason),
    /// RESET: the guest's machine was reset, and why. With `reboot=shutdown` none comes but by the host's doing.
    Reset(ShutdownReason),
    /// `GUEST_PANICKED`, through pvpanic.
    GuestPanicked,
    /// WATCHDOG: a watchdog device of the guest's ran out, and what QEMU does about it, as `reset`, `pause`.
    Watchdog {
        /// QEMU's word for it.
        action: String,
    },
    /// STOP: the guest is paused.
    Stopped,
    /// RESUME: the guest runs, after it was paused or its state was loaded.
    Resumed,
    /// MIGRATION: how far the saving of a template is, as `active`, `completed`, `failed`.
    Migration {
        /// QEMU's word for it.
        status: String,
    },
    /// The reply to a command that did not go through qapi: None where it was done.
    Reply {
        /// The command's name.
        command: String,
        /// What QEMU had against it.
        error: Option<String>,
    },
    /// Any other.
    Other(String),
}

/// What the ids of vmlab's own commands begin with.
pub(super) const OWN: &str = "vmlab:";

/// The event that a line is; None for the reply to a command that went through qapi, and for what is no QMP.
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
        let word = value.get("data").and_then(|data| data.get(field)).and_then(Value::as_str);
        word.unwrap_or("unknown").to_owned()
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
