//! Deadlines of a guest. They distinguish a slow guest from a dead one. Pure: times and QEMU's CPU usage are passed in.
//!
//! A limit is wall-clock time, but its second half counts only while QEMU can run: the time for which QEMU's threads
//! wait for a processor in that half is added to the limit, up to [`MAX_STRETCH`] times the limit. On an idle host a
//! guest gets exactly its limit. Silence counts only while QEMU uses no processor: a guest that computes makes
//! progress, and is bounded by its job's limit.
//!
//! /proc is not read before half of a limit has passed, so a fast guest has no overhead.

use std::time::{Duration, Instant};

use vmlab_events::loss::Deadline;
use vmlab_qemu::cpu_usage::CpuUsage;

/// The maximum factor by which a limit is stretched.
const MAX_STRETCH: u32 = 4;
/// Waiting for a processor for less than 1/20 of the limit does not count.
const MIN_STRETCH_PART: u32 = 20;
/// A guest that uses a processor for less than 1/10 of the time is idle.
const IDLE_PART: u32 = 10;

/// A limit and its progress.
#[derive(Debug, Clone, Copy)]
struct Limit {
    limit: Duration,
    since: Instant,
    /// The time at which half of the limit had passed, and QEMU's CPU usage then.
    half: Option<(Instant, Option<CpuUsage>)>,
    stretched: Duration,
}

impl Limit {
    const fn new(limit: Duration, since: Instant) -> Self {
        Self { limit, since, half: None, stretched: Duration::ZERO }
    }

    /// The next time to check the limit.
    fn due(&self) -> Instant {
        match self.half {
            None => self.since + self.limit / 2,
            Some(_) => self.end(),
        }
    }

    /// The time at which the limit passes, as known now. If vmlab itself was stopped, half of the limit was noticed
    /// late, and the end is equally late.
    fn end(&self) -> Instant {
        let half = self.half.map_or(self.since + self.limit / 2, |(at, _)| at);
        half + self.limit / 2 + self.stretched
    }

    /// Checks the limit, which the host's other work stretches.
    fn check_stretched(&mut self, which: Deadline, now: Instant, usage: Option<CpuUsage>) -> Option<Passed> {
        let since = self.check(now, usage)?;
        let stretched = since.map_or(Duration::ZERO, |since| since.runqueue_wait).min(self.limit * (MAX_STRETCH - 1));
        if stretched > self.stretched + self.limit / MIN_STRETCH_PART {
            self.stretched = stretched;
            if now < self.due() {
                return None;
            }
        }
        Some(Passed { which, limit: self.limit, stretched: self.stretched })
    }

    /// Checks the limit. Some if it has passed: QEMU's CPU usage since half of it, if known.
    fn check(&mut self, now: Instant, usage: Option<CpuUsage>) -> Option<Option<Since>> {
        if now < self.due() {
            return None;
        }
        match self.half {
            None => {
                self.half = Some((now, usage));
                None
            }
            Some((at, then)) => Some(then.zip(usage).map(|(then, usage)| Since {
                time: now.saturating_duration_since(at),
                run: usage.run.saturating_sub(then.run),
                runqueue_wait: usage.runqueue_wait.saturating_sub(then.runqueue_wait),
            })),
        }
    }
}

/// QEMU's CPU usage since half of a limit.
#[derive(Debug, Clone, Copy)]
struct Since {
    time: Duration,
    run: Duration,
    runqueue_wait: Duration,
}

/// A passed limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) which: Deadline,
    pub(crate) limit: Duration,
    pub(crate) stretched: Duration,
}

/// The deadlines of a guest.
#[derive(Debug, Clone)]
pub(crate) struct Deadlines {
    which: Deadline,
    whole: Limit,
    /// The limit of silence while a job runs.
    silence: Option<Limit>,
    /// While a command runs, which may be silent for any time.
    pulse: Option<Pulse>,
}

impl Deadlines {
    /// Starts a deadline now.
    pub(crate) const fn new(which: Deadline, limit: Duration, now: Instant) -> Self {
        Self { which, whole: Limit::new(limit, now), silence: None, pulse: None }
    }

    /// Starts the deadlines of a job: the whole job, and silence.
    pub(crate) fn job(limit: Duration, silence: Duration, now: Instant) -> Self {
        Self {
            which: Deadline::Scenario,
            whole: Limit::new(limit, now),
            silence: Some(Limit::new(silence, now)).filter(|_| silence < limit),
            pulse: None,
        }
    }

    /// Starts the deadlines of a command: the whole job, and, after each `interval` without a word of the agent's, its answer.
    pub(crate) const fn command(limit: Duration, (interval, answer): (Duration, Duration), now: Instant) -> Self {
        let pulse = Pulse { interval, answer, since: now, asked: None };
        Self { pulse: Some(pulse), ..Self::new(Deadline::Command, limit, now) }
    }

    /// The kind of the current limit.
    pub(crate) const fn which(&self) -> Deadline {
        self.which
    }

    /// The guest was active on any channel.
    pub(crate) fn activity(&mut self, now: Instant) {
        if let Some(silence) = &mut self.silence {
            *silence = Limit::new(silence.limit, now);
        }
    }

    /// The agent has said something.
    pub(crate) fn answered(&mut self, now: Instant) {
        if let Some(pulse) = &mut self.pulse {
            (pulse.since, pulse.asked) = (now, None);
        }
    }

    /// Whether the agent is to be asked whether it still answers. The time for the answer begins then.
    pub(crate) fn asks(&mut self, now: Instant) -> bool {
        let Some(pulse) = &mut self.pulse else { return false };
        let asks = pulse.asked.is_none() && now >= pulse.due();
        if asks {
            pulse.asked = Some(Limit::new(pulse.answer, now));
        }
        asks
    }

    /// The next time to check.
    pub(crate) fn due(&self) -> Instant {
        let others = [self.silence.as_ref().map(Limit::due), self.pulse.as_ref().map(Pulse::due)];
        others.into_iter().flatten().fold(self.whole.due(), Instant::min)
    }

    /// The remaining time, as known now.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.whole.end().saturating_duration_since(now)
    }

    /// Checks the due limits. None if none has passed.
    pub(crate) fn check(&mut self, now: Instant, usage: Option<CpuUsage>) -> Option<Passed> {
        if let Some(silence) = &mut self.silence
            && let Some(since) = silence.check(now, usage)
        {
            let works = |since: Since| since.run.max(since.runqueue_wait) >= since.time / IDLE_PART;
            if since.is_some_and(works) {
                *silence = Limit::new(silence.limit, now);
            } else {
                let (limit, stretched) = (silence.limit, Duration::ZERO);
                return Some(Passed { which: Deadline::Silence, limit, stretched });
            }
        }
        let answer = self.pulse.as_mut().and_then(|pulse| pulse.asked.as_mut());
        answer
            .and_then(|limit| limit.check_stretched(Deadline::Alive, now, usage))
            .or_else(|| self.whole.check_stretched(self.which, now, usage))
    }
}

/// Whether the agent of a guest still answers.
#[derive(Debug, Clone)]
struct Pulse {
    /// The time without a word after which the agent is asked.
    interval: Duration,
    /// The time for the answer.
    answer: Duration,
    /// When it last said something, or was asked.
    since: Instant,
    /// The limit of the answer, if it is due.
    asked: Option<Limit>,
}

impl Pulse {
    fn due(&self) -> Instant {
        self.asked.map_or(self.since + self.interval, |limit| limit.due())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(100);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Checks deadlines whenever they are due, until a limit has passed. `usage` gives the run time and the time of
    /// waiting for a processor.
    fn played(
        mut deadlines: Deadlines,
        usage: impl Fn(Duration) -> Option<(Duration, Duration)>,
    ) -> (Passed, Duration) {
        let start = deadlines.whole.since;
        for _ in 0..1000 {
            let now = deadlines.due();
            let at = now - start;
            let usage = usage(at).map(|(run, runqueue_wait)| CpuUsage { run, runqueue_wait, stopped: false });
            if let Some(passed) = deadlines.check(now, usage) {
                return (passed, at);
            }
            assert!(deadlines.due() > now, "the next check is in the future");
        }
        panic!("it never ends");
    }

    fn whole(stretched: Duration) -> Passed {
        Passed { which: Deadline::Boot, limit: LIMIT, stretched }
    }

    #[test]
    fn on_an_idle_host_a_limit_is_not_stretched() {
        let boot = || Deadlines::new(Deadline::Boot, LIMIT, Instant::now());
        assert_eq!(played(boot(), |at| Some((at, Duration::ZERO))), (whole(s(0)), LIMIT));
        assert_eq!(played(boot(), |_| Some((s(0), s(0)))), (whole(s(0)), LIMIT));
        assert_eq!(played(boot(), |_| None), (whole(s(0)), LIMIT), "without known CPU usage");
        // Short waits do not count.
        assert_eq!(played(boot(), |at| Some((at, at / 50))).1, LIMIT);
    }

    #[test]
    fn a_host_that_gives_half_the_time_stretches_the_second_half() {
        let (passed, at) = played(Deadlines::new(Deadline::Boot, LIMIT, Instant::now()), |at| Some((at / 2, at / 2)));
        // 50 s, then 50 s of run time, which take almost 100 s because short waits do not count.
        assert!(passed.stretched > s(40) && passed.stretched <= s(50), "{passed:?}");
        assert_eq!(at, LIMIT + passed.stretched);
    }

    #[test]
    fn a_limit_on_an_overloaded_host_has_a_maximum() {
        let (passed, at) = played(Deadlines::new(Deadline::Boot, LIMIT, Instant::now()), |at| Some((s(0), at)));
        assert_eq!((passed, at), (whole(LIMIT * 3), LIMIT * 4));
    }

    #[test]
    fn waiting_for_a_processor_in_the_first_half_does_not_count() {
        let (passed, _) = played(Deadlines::new(Deadline::Boot, LIMIT, Instant::now()), |_| Some((s(0), s(1000))));
        assert_eq!(passed, whole(s(0)));
    }

    #[test]
    fn silence_ends_only_an_idle_guest() {
        let silence = Passed { which: Deadline::Silence, limit: s(20), stretched: s(0) };
        let scenario = || Deadlines::job(LIMIT, s(20), Instant::now());
        assert_eq!(played(scenario(), |_| Some((s(3), s(0)))), (silence, s(20)));
        assert_eq!(played(scenario(), |at| Some((at / 50, s(0)))), (silence, s(20)));
        // Without known CPU usage, silence alone counts.
        assert_eq!(played(scenario(), |_| None), (silence, s(20)));
        // The guest computes, or waits for a processor.
        let (passed, at) = played(scenario(), |at| Some((at, s(0))));
        assert_eq!((passed.which, at), (Deadline::Scenario, LIMIT));
        let (passed, at) = played(scenario(), |at| Some((s(0), at)));
        assert_eq!((passed.which, at), (Deadline::Scenario, LIMIT * 4));
        // The guest computes for 50 s, and is then idle.
        let (passed, at) = played(scenario(), |at| Some((at.min(s(50)), s(0))));
        assert_eq!(passed, silence);
        assert!(at >= s(60) && at <= s(90), "{at:?}");
    }

    #[test]
    fn activity_restarts_the_limit_of_silence() {
        let mut deadlines = Deadlines::job(LIMIT, s(20), Instant::now());
        let start = deadlines.whole.since;
        assert_eq!(deadlines.check(start + s(10), Some(CpuUsage::default())), None);
        deadlines.activity(Instant::now());
        let due = deadlines.due() - start;
        assert!(due >= s(10) && due < s(11), "the limit restarts: {due:?}");
        assert_eq!(deadlines.check(start + s(21), Some(CpuUsage::default())), None, "half of a new silence");
    }

    #[test]
    fn an_agent_that_does_not_answer_hangs_however_busy_its_guest_is() {
        let start = Instant::now();
        let mut deadlines = Deadlines::command(LIMIT * 1000, (s(10), s(60)), start);
        assert!(!deadlines.asks(start + s(9)));
        // It answers twice, the second time late.
        assert!(deadlines.asks(deadlines.due()));
        deadlines.answered(start + s(11));
        assert_eq!(deadlines.due(), start + s(21));
        assert!(deadlines.asks(start + s(21)) && !deadlines.asks(start + s(40)));
        let busy = |at| Some(CpuUsage { run: at, runqueue_wait: s(0), stopped: false });
        assert_eq!(deadlines.check(start + s(51), busy(s(51))), None);
        deadlines.answered(start + s(80));
        // Then it does not, and the kernel's messages are no answer.
        assert!(deadlines.asks(start + s(90)));
        deadlines.activity(start + s(100));
        assert_eq!(deadlines.check(start + s(120), busy(s(120))), None);
        let hangs = Passed { which: Deadline::Alive, limit: s(60), stretched: s(0) };
        assert_eq!(deadlines.check(start + s(150), busy(s(150))), Some(hangs));
    }

    #[test]
    fn a_limit_of_silence_longer_than_the_jobs_limit_is_ignored() {
        assert!(Deadlines::job(s(5), s(5), Instant::now()).silence.is_none());
    }

    #[test]
    fn a_vmlab_that_was_stopped_checks_again() {
        let mut deadlines = Deadlines::new(Deadline::Boot, LIMIT, Instant::now());
        let late = deadlines.whole.since + LIMIT * 2;
        assert_eq!(deadlines.check(late, Some(CpuUsage::default())), None);
        assert_eq!(deadlines.due(), late + LIMIT / 2);
        assert_eq!(deadlines.check(late + LIMIT / 2, Some(CpuUsage::default())), Some(whole(s(0))));
    }
}
