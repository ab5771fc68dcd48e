//! A time limit that excludes pauses of the guest. Pure: the clock is passed in.
//!
//! After its QEMU was stopped or got no CPU, the guest sees its clock jump. A wait under a limit is therefore divided
//! into parts, and a part counts with at most twice its length. A pause of any length uses up at most two parts of the
//! limit.

use std::time::{Duration, Instant};

/// The number of parts of a limit.
const PARTS: u32 = 16;

/// A time limit and its remaining time.
#[derive(Debug)]
pub(super) struct Allowance {
    left: Duration,
    part: Duration,
    seen: Instant,
}

impl Allowance {
    /// A limit that starts at `now`.
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        Self { left: limit, part: limit / PARTS, seen: now }
    }

    /// The length of the next wait; None after the limit has passed. Call this after each wait.
    pub(super) fn next_wait(&mut self, now: Instant) -> Option<Duration> {
        let gone = now.saturating_duration_since(self.seen).min(self.part * 2);
        self.seen = now;
        self.left = self.left.saturating_sub(gone);
        (!self.left.is_zero()).then_some(self.left.min(self.part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(16);
    const SECOND: Duration = Duration::from_secs(1);

    /// The time at which the limit passes, where `took` maps the number and length of a wait to its duration.
    fn ends(took: impl Fn(u32, Duration) -> Duration) -> Duration {
        let start = Instant::now();
        let (mut allowance, mut now) = (Allowance::new(LIMIT, start), start);
        for number in 0.. {
            let Some(wait) = allowance.next_wait(now) else { break };
            now += took(number, wait);
        }
        now - start
    }

    #[test]
    fn a_running_guest_gets_the_whole_limit_however_often_it_wakes() {
        assert_eq!(ends(|_, wait| wait), LIMIT);
        assert_eq!(ends(|_, wait| wait / 7 + Duration::from_nanos(1)).as_secs(), LIMIT.as_secs());
    }

    #[test]
    fn a_pause_uses_up_two_parts_at_most() {
        let pause = SECOND * 3600;
        assert_eq!(ends(|number, wait| if number == 3 { pause } else { wait }), LIMIT + pause - SECOND * 2);
    }

    #[test]
    fn a_guest_that_is_always_late_reaches_the_limit() {
        assert_eq!(ends(|_, _| SECOND * 10), SECOND * 80);
    }
}
