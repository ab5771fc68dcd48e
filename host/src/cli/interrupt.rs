//! The signals by which a user, a terminal or a supervisor ends a command.

use std::task::{Context, Waker};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::exit;

/// SIGINT, SIGTERM and SIGHUP, caught from the moment this is made.
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
        let listen = |kind: SignalKind| {
            signal(kind).map_err(|error| Failure::lab(format!("cannot listen for signals: {error}")))
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

    /// Forgets those that have come.
    pub fn forget(&mut self) {
        // Polled once without waiting: a signal that has come is taken, and there is at most one of each kind.
        let mut context = Context::from_waker(Waker::noop());
        for signal in [&mut self.int, &mut self.term, &mut self.hup] {
            while signal.poll_recv(&mut context).is_ready() {}
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
