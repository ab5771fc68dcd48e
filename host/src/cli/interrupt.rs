//! The signals by which a user, a terminal or a supervisor ends a command.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::flag;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::exit;

/// SIGINT, SIGTERM and SIGHUP, caught from the moment this is made. The second of them ends the process at once, from the
/// signal's handler: the runtime may be waiting for a reader of standard output who has stopped reading.
#[derive(Debug)]
pub struct Interrupts {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Interrupts {
    /// Starts to catch them.
    ///
    /// # Errors
    /// [`exit::LAB`] where signals cannot be listened for.
    pub fn listen() -> Result<Self, Failure> {
        let failed = |error| Failure::lab(format!("cannot listen for signals: {error}"));
        let again = Arc::new(AtomicBool::new(false));
        let listen = |kind: SignalKind| {
            // In this order: the first signal finds the flag unset and sets it. What was started dies with this process.
            let number = kind.as_raw_value();
            flag::register_conditional_shutdown(number, exit::INTERRUPTED.into(), Arc::clone(&again))
                .map_err(failed)?;
            flag::register(number, Arc::clone(&again)).map_err(failed)?;
            signal(kind).map_err(failed)
        };
        Ok(Self {
            int: listen(SignalKind::interrupt())?,
            term: listen(SignalKind::terminate())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
            _ = self.hup.recv() => {}
        }
    }

    /// Runs work until it is done or a signal comes; then the work is dropped, which ends what it started.
    ///
    /// # Errors
    /// The work's own; [`exit::INTERRUPTED`] by a signal.
    pub async fn or_interrupt<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            result = work => result,
            () = self.next() => {
                Err(Failure::with_code(exit::INTERRUPTED, "interrupted; nothing half-done was left behind"))
            }
        }
    }
}
