//! How two cgroups with busy processes share a CPU, and waits that are counted in a cgroup's CPU time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::super::Trouble;
use super::task::Task;
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{During, WAIT_LIMIT};

/// The CPU time that a cgroup has used, in microseconds.
pub(super) fn usage_usec(cgroup: &Cgroup) -> Result<u64, Trouble> {
    cgroup.count("cpu.stat", "usage_usec")
}

/// Uses this much CPU time in the calling process.
pub(super) fn burn(time: Duration) -> Result<(), Trouble> {
    let used = || clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).during("clock_gettime(2)").map(Duration::from);
    let end = used()? + time;
    while used()? < end {}
    Ok(())
}

/// Waits until `reached`, with breaks, because the waiting process must not compete for the CPU.
///
/// # Errors
/// [`WAIT_LIMIT`] has passed, or `reached` failed.
pub(super) fn await_that(what: &str, mut reached: impl FnMut() -> Result<bool, Trouble>) -> Result<(), Trouble> {
    let started = Instant::now();
    while !reached()? {
        if started.elapsed() > WAIT_LIMIT {
            return Err(Trouble(format!("{what} was not reached within {} s", WAIT_LIMIT.as_secs())));
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Runs a busy process in each of the cgroups on the first CPU until both have used this CPU time together; returns what each of
/// them has used, in microseconds.
pub(super) fn share(first: &Cgroup, second: &Cgroup, together_usec: u64) -> Result<(u64, u64), Trouble> {
    let _busy = (Task::busy(first)?, Task::busy(second)?);
    let start = (usage_usec(first)?, usage_usec(second)?);
    let mut used = (0, 0);
    await_that("the CPU time of two cgroups", || {
        used = (usage_usec(first)?.saturating_sub(start.0), usage_usec(second)?.saturating_sub(start.1));
        Ok(used.0 + used.1 >= together_usec)
    })?;
    Ok(used)
}
