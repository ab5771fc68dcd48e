//! SIGINT, SIGTERM and SIGHUP, by which a user, a terminal or a supervisor ends a command.

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

/// A signal that comes this soon after the first counts as the first: timeout(1) and some supervisors send one signal both
/// to the process and to its group.
const SAME_SIGNAL: Duration = Duration::from_millis(300);

/// Makes a write beyond `RLIMIT_FSIZE` fail with EFBIG, as a write to a full disk fails, instead of ending the process by
/// SIGXFSZ (setrlimit(2)). Child processes do not inherit this.
pub(crate) fn outlive_file_size_limit() -> Result<(), Failure> {
    flag::register(SIGXFSZ, Arc::default())
        .map(drop)
        .map_err(|error| Failure::lab(format!("cannot catch signals: {error}")))
}

/// Catches the three signals from its creation on. The second one ends the process at once, in the signal handler: the
/// runtime may be blocked on a standard output that nobody reads.
#[derive(Debug)]
pub(crate) struct Interrupts {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::lab(format!("cannot listen for signals: {error}"));
        // A signal that the parent process blocked stays blocked here (sigprocmask(2)).
        SigSet::from_iter([SIGINT, SIGTERM, SIGHUP]).thread_unblock().map_err(|error| failed(error.into()))?;
        let again = Arc::new(AtomicBool::new(false));
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let mut first = Signals::new(kinds.map(|kind| kind.as_raw_value())).map_err(failed)?;
        let armed = Arc::clone(&again);
        // A thread, because the runtime may be blocked. It lasts until the process ends.
        let watch = move || {
            if first.forever().next().is_some() {
                std::thread::sleep(SAME_SIGNAL);
                armed.store(true, Ordering::SeqCst);
            }
        };
        std::thread::Builder::new().spawn(watch).map_err(failed)?;
        let listen = |kind: SignalKind| {
            // Child processes die with this one (PR_SET_PDEATHSIG).
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

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
            _ = self.hup.recv() => {}
        }
    }

    /// Runs work until it is done or a signal comes. A signal drops the work, which ends the processes that it started,
    /// and is the error [`exit::INTERRUPTED`].
    pub(crate) async fn or_interrupt<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            result = work => result,
            () = self.next() => {
                Err(Failure::interrupted())
            }
        }
    }
}
