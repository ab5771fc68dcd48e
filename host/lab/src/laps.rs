//! A stopwatch with consecutive laps, in µs of a monotonic clock.

use std::time::{Duration, Instant};

use vmlab_events::event::Phase;

/// A stopwatch. A lap is named when it ends.
#[derive(Debug, Clone)]
pub struct Laps {
    began: Instant,
    last: Instant,
    phases: Vec<Phase>,
}

impl Laps {
    /// Starts the first lap at `began`.
    #[must_use]
    pub const fn since(began: Instant) -> Self {
        Self { began, last: began, phases: Vec::new() }
    }

    /// Ends the current lap now; the next one begins.
    pub fn lap(&mut self, name: &str) {
        self.lap_at(name, Instant::now());
    }

    /// Ends the current lap at `at`. If the lap before ended later, this lap has no length.
    pub(crate) fn lap_at(&mut self, name: &str, at: Instant) {
        self.push(name, at.saturating_duration_since(self.last));
        self.last = self.last.max(at);
    }

    /// Adds a part of the last lap, as measured by another clock.
    pub(crate) fn part(&mut self, phase: Phase) {
        self.phases.push(phase);
    }

    /// The end of the last lap.
    pub(crate) const fn last(&self) -> Instant {
        self.last
    }

    fn push(&mut self, name: &str, length: Duration) {
        self.phases.push(Phase { name: name.to_owned(), us: microseconds(length) });
    }

    /// The laps, and `total`: from the beginning of the first to the end of the last.
    #[must_use]
    pub fn finish(mut self) -> Vec<Phase> {
        self.push("total", self.last.saturating_duration_since(self.began));
        self.phases
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
