//! Sets the machine's wall clock back for a while.

use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::time::{ClockId, clock_gettime, clock_settime};

const STEP_S: i64 = 3600;

/// Keeps the clock one hour behind until [`Self::undo`] is called or the value is dropped.
#[derive(Debug)]
pub(crate) struct SetBack {
    is_undone: bool,
}

impl SetBack {
    /// Sets the clock back. The error names the call that failed.
    pub(crate) fn now() -> Result<Self, String> {
        step(-STEP_S).map(|()| Self { is_undone: false })
    }

    /// Sets the clock right again. The error says that it is still behind, and why.
    pub(crate) fn undo(mut self) -> Result<(), String> {
        self.is_undone = true;
        step(STEP_S).map_err(|why| format!("this machine's clock is still an hour behind; set it right by hand: {why}"))
    }
}

impl Drop for SetBack {
    fn drop(&mut self) {
        if !self.is_undone {
            // The suite was interrupted: there is no result that could report a failure.
            let _ = step(STEP_S);
        }
    }
}

fn step(seconds: i64) -> Result<(), String> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map_err(|error| format!("clock_gettime: {error}"))?;
    let then = now + TimeSpec::seconds(seconds);
    clock_settime(ClockId::CLOCK_REALTIME, then).map_err(|error| format!("clock_settime: {error}"))
}
