//! How two cgroups with busy processes share a CPU, and waits that are counted in a cgroup's CPU time.

use std::ops::RangeInclusive;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::super::Trouble;
use super::super::support::{note, until};
use super::task::Task;
use crate::sandbox::During;
use crate::sandbox::cgroup::{Cgroup, Limit};

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

/// Waits until this was seen a number of times: that the second cgroup has used CPU time since the last look, or that the first
/// one has used `enough_usec` in all. Returns what they have used. A pause of the guest, for which the kernel charges the process
/// that ran, counts once.
pub(super) fn watch(first: &Cgroup, second: &Cgroup, enough_usec: u64) -> Result<(u64, u64), Trouble> {
    // Half a second: after a pause, the scheduler makes up for it, so that a process may have to wait for as long as the pause.
    const LOOKS: u32 = 100;
    let start = (usage_usec(first)?, usage_usec(second)?);
    let mut used = (0, 0);
    let mut looks = 0;
    until("the CPU time of a busy process", || {
        let now = (usage_usec(first)?.saturating_sub(start.0), usage_usec(second)?.saturating_sub(start.1));
        looks += u32::from(now.1 > used.1);
        used = now;
        Ok(used.0 >= enough_usec || looks >= LOOKS)
    })?;
    Ok(used)
}

/// Two busy processes on a CPU. They are killed together: a killed process needs the CPU to end, and one with a small share may
/// wait for it for minutes while the other one has it.
struct Pair(Task, Task);

impl Drop for Pair {
    fn drop(&mut self) {
        for task in [&self.0, &self.1] {
            task.doom();
        }
    }
}

/// The shares of cgroups of which none is preferred, in percent.
pub(super) const EQUAL: RangeInclusive<u64> = 12..=85;

/// The part of a CPU that a cgroup with these limits gets beside one without, in percent: a busy process of each of them is on the
/// first CPU.
///
/// Both are below a cgroup of the default weight, and the limits come when both processes run: beside a heavy cgroup, this process
/// and one that starts would get the CPU too rarely. The value is the median of several periods. In a single one, the machine may have paused the guest, for which the kernel charges
/// the process that ran; so the median of equal cgroups is only about 50.
pub(super) fn share_percent(limits: &[Limit]) -> Result<u64, Trouble> {
    const PERIODS: usize = 9;
    /// The CPU time of a period, in microseconds: 15 ticks of a timer with 250 Hz.
    const PERIOD_USEC: u64 = 60_000;
    let parent = Cgroup::create(&[])?;
    parent.enable("cpu")?;
    let (first, second) = (parent.create_below(&[])?, parent.create_below(&[])?);
    let _busy = Pair(Task::busy(&first)?, Task::busy(&second)?);
    for limit in limits {
        first.write(limit.file, limit.value)?;
    }
    let mut shares = Vec::with_capacity(PERIODS);
    for _ in 0..PERIODS {
        let start = (usage_usec(&first)?, usage_usec(&second)?);
        until("the CPU time of two cgroups", || {
            let used = (usage_usec(&first)?.saturating_sub(start.0), usage_usec(&second)?.saturating_sub(start.1));
            let together = used.0 + used.1;
            let done = together >= PERIOD_USEC;
            if done {
                shares.push(used.0 * 100 / together);
            }
            Ok(done)
        })?;
    }
    note(format_args!("shares of the CPU, in percent: {shares:?}"));
    shares.sort_unstable();
    shares.get(PERIODS / 2).copied().ok_or_else(|| Trouble::new("no period was measured"))
}
