//! Setting the machine's wall clock back for a while.

use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::time::{ClockId, clock_gettime, clock_settime};

/// How far, in seconds.
const STEP_S: i64 = 3600;

/// The clock is an hour behind, until this is dropped.
#[derive(Debug)]
pub struct SetBack(());

impl SetBack {
    /// Sets it back. The error says why it could not be.
    pub fn now() -> Result<Self, String> {
        step(-STEP_S).map(|()| Self(()))
    }
}

impl Drop for SetBack {
    fn drop(&mut self) {
        // Whoever could set it back can set it forward.
        if let Err(why) = step(STEP_S) {
            eprintln!("vmlab: this machine's clock is an hour behind: {why}");
        }
    }
}

fn step(seconds: i64) -> Result<(), String> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map_err(|error| format!("clock_gettime: {error}"))?;
    let then = now + TimeSpec::seconds(seconds);
    clock_settime(ClockId::CLOCK_REALTIME, then).map_err(|error| format!("clock_settime: {error}"))
}
