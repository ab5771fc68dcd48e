//! The signals by which a user, a terminal or a supervisor ends a command.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use vmlab_events::exit;

/// Signals that come so shortly after the first are the first: timeout(1) and some supervisors send the same one to the
/// process and to its group.
const SAME_WISH: Duration = Duration::from_millis(300);

/// Has a file that may not grow further be an error of writing it (EFBIG), as a full disk is, and not the end of the process
/// (SIGXFSZ; setrlimit(2), `RLIMIT_FSIZE`). What is started does not inherit this.
///
/// # Errors
/// [`exit::LAB`] where signals cannot be caught.
pub fn outlive_file_size_limit() -> Result<(), Failure> {
    flag::register(SIGXFSZ, Arc::default())
        .map(drop)
        .map_err(|error| Failure::lab(format!("cannot catch signals: {error}")))
}

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
        let failed = |error: io::Error| Failure::lab(format!("cannot listen for signals: {error}"));
        // Whoever started this process may have blocked them, which would be inherited (sigprocmask(2)).
        SigSet::from_iter([SIGINT, SIGTERM, SIGHUP]).thread_unblock().map_err(|error| failed(error.into()))?;
        let again = Arc::new(AtomicBool::new(false));
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let mut first = Signals::new(kinds.map(|kind| kind.as_raw_value())).map_err(failed)?;
        let armed = Arc::clone(&again);
        // A thread, because the runtime may stand still. It ends with the process, or never sees a signal.
        let watch = move || {
            if first.forever().next().is_some() {
                std::thread::sleep(SAME_WISH);
                armed.store(true, Ordering::SeqCst);
            }
        };
        std::thread::Builder::new().spawn(watch).map_err(failed)?;
        let listen = |kind: SignalKind| {
            // What was started dies with this process.
            flag::register_conditional_shutdown(kind.as_raw_value(), exit::INTERRUPTED.into(), Arc::clone(&again))
                .map_err(failed)?;
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
