//! Signals to this process, for the command that it runs.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use vmlab_protocol::command::Control;

use super::terminal;
use crate::Failure;

/// The signals that are passed on.
pub(super) struct Signals {
    listening: Vec<(i32, Signal)>,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::lab(format!("cannot listen for signals: {error}"));
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
            SignalKind::window_change(),
        ];
        let listen = |kind: SignalKind| Ok((kind.as_raw_value(), signal(kind).map_err(failed)?));
        Ok(Self { listening: kinds.into_iter().map(listen).collect::<Result<_, Failure>>()? })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Control {
        let waits = self.listening.iter_mut().map(|(number, signal)| {
            Box::pin(async move {
                signal.recv().await;
                *number
            })
        });
        let (signal, ..) = futures_util::future::select_all(waits).await;
        match terminal::size() {
            Some(size) if signal == SignalKind::window_change().as_raw_value() => Control::Resize { size },
            _ => Control::Signal { signal },
        }
    }
}

/// Whether it ends a run in which no command runs yet.
pub(super) const fn ends_a_run(control: &Control) -> bool {
    matches!(control, Control::Signal { signal: 1 | 2 | 3 | 15 })
}
