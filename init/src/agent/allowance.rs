//! A time limit that counts while the guest runs. Pure: the clock is passed in.
//!
//! A guest whose QEMU was stopped, or got no processor, finds that much time gone at once. Whoever waits under such a limit
//! does so in parts, and of a part that took longer than it could, no more counts than twice its length: a pause takes
//! little of a limit, however long it was.

use std::time::{Duration, Instant};

/// Parts of a limit.
const PARTS: u32 = 16;

/// A limit, and what is left of it.
#[derive(Debug)]
pub(super) struct Allowance {
    left: Duration,
    part: Duration,
    seen: Instant,
}

impl Allowance {
    /// From now on.
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        Self { left: limit, part: limit / PARTS, seen: now }
    }

    /// How long to wait before it is looked at again; None where nothing is left. To be called after each wait.
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

    /// When the limit has passed for somebody whose waits take as long as `took` says of them.
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
    fn a_guest_that_runs_gets_its_limit_however_often_it_is_looked_at() {
        assert_eq!(ends(|_, wait| wait), LIMIT);
        assert_eq!(ends(|_, wait| wait / 7 + Duration::from_nanos(1)).as_secs(), LIMIT.as_secs());
    }

    #[test]
    fn a_pause_takes_two_parts_at_most() {
        let pause = SECOND * 3600;
        assert_eq!(ends(|number, wait| if number == 3 { pause } else { wait }), LIMIT + pause - SECOND * 2);
    }

    #[test]
    fn a_guest_that_is_always_late_is_not_waited_for_without_end() {
        assert_eq!(ends(|_, _| SECOND * 10), SECOND * 80);
    }
}
