//! SIGINT, SIGTERM and SIGHUP, by which a user, a terminal or a supervisor ends a command. A signal that was ignored when
//! vmlab started stays ignored: nohup(1) ignores SIGHUP, and a shell without job control ignores SIGINT for a command that
//! it starts in the background (POSIX, XCU 2.12, "Signals and Error Handling").

use std::fs;
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
    int: Option<Signal>,
    term: Option<Signal>,
    hup: Option<Signal>,
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::lab(format!("cannot listen for signals: {error}"));
        // A signal that the parent process blocked stays blocked here (sigprocmask(2)).
        SigSet::from_iter([SIGINT, SIGTERM, SIGHUP]).thread_unblock().map_err(|error| failed(error.into()))?;
        let again = Arc::new(AtomicBool::new(false));
        let ignored = Ignored::of_this_process();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let numbers = kinds.map(|kind| kind.as_raw_value()).into_iter().filter(|signal| !ignored.contains(*signal));
        let mut first = Signals::new(numbers).map_err(failed)?;
        let armed = Arc::clone(&again);
        // A thread, because the runtime may be blocked. It lasts until the process ends.
        let watch = move || {
            if first.forever().next().is_some() {
                std::thread::sleep(SAME_SIGNAL);
                armed.store(true, Ordering::SeqCst);
            }
        };
        std::thread::Builder::new().spawn(watch).map_err(|error| no_thread(&error))?;
        let listen = |kind: SignalKind| {
            if ignored.contains(kind.as_raw_value()) {
                return Ok(None);
            }
            // Child processes die with this one (PR_SET_PDEATHSIG).
            flag::register_conditional_shutdown(kind.as_raw_value(), exit::INTERRUPTED.into(), Arc::clone(&again))
                .map_err(failed)?;
            signal(kind).map(Some).map_err(failed)
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
            () = received(&mut self.int) => {}
            () = received(&mut self.term) => {}
            () = received(&mut self.hup) => {}
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

/// Waits for a signal; for ever if it is ignored.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The failure for a thread that the system does not give.
pub(crate) fn no_thread(error: &io::Error) -> Failure {
    Failure::lab(format!(
        "cannot start a thread: {error}; raise the limits of threads or memory (ulimit -u, ulimit -v)"
    ))
}

/// The ignored signals of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ignored(u64);

impl Ignored {
    fn of_this_process() -> Self {
        // Without /proc no signal counts as ignored.
        Self::in_status(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    /// Reads the field `SigIgn` of /proc/PID/status: a mask in hexadecimal, bit 0 for signal 1 (proc_pid_status(5)).
    fn in_status(status: &str) -> Self {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
    }

    const fn contains(self, signal: i32) -> bool {
        signal > 0 && signal <= 64 && self.0 & (1 << (signal - 1)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let status = "Name:\tvmlab\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\nSigCgt:\t0000000000004000\n";
        let ignored = Ignored::in_status(status);
        let found: Vec<i32> = (0..=64).filter(|signal| ignored.contains(*signal)).collect();
        assert_eq!(found, [SIGHUP as i32, SIGINT as i32, nix::sys::signal::Signal::SIGPIPE as i32]);
        for unknown in ["", "SigIgn:\n", "SigIgn:\tx\n", "SigIgn:\t11112222333344445\n"] {
            assert_eq!(Ignored::in_status(unknown), Ignored(0), "{unknown:?}");
        }
    }
}
