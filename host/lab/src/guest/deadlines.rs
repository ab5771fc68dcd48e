//! Deadlines: what the host waits for, until when, and whether a guest that missed its deadline is slow or dead. Pure:
//! times and QEMU's CPU usage are passed in.
//!
//! A limit is wall-clock time, but its second half counts only while QEMU could run: the limit is stretched by the time
//! for which QEMU's threads were ready in that half and had no processor, and is checked again when that time has passed
//! too; at most to [`MAX_STRETCH`] times itself. A guest on an idle host gets exactly its limit. Silence counts only while
//! QEMU uses no processor either: a guest that computes makes progress, and has the job's own limit.
//!
//! Nothing is checked before half of a limit has passed, so a guest that does well pays nothing for this.

use std::time::{Duration, Instant};

use vmlab_events::loss::Deadline;
use vmlab_qemu::cpu_usage::CpuUsage;

/// How many times its own length a limit may reach.
const MAX_STRETCH: u32 = 4;
/// A stretch counts from 1/20 of the limit on: a busy moment is no load.
const MIN_STRETCH_PART: u32 = 20;
/// A guest that had a processor for less than 1/10 of the time is idle.
const IDLE_PART: u32 = 10;

/// A limit and how much of it has passed.
#[derive(Debug, Clone, Copy)]
struct Limit {
    limit: Duration,
    since: Instant,
    /// When half of it had passed, and QEMU's CPU usage then.
    half: Option<(Instant, Option<CpuUsage>)>,
    stretched: Duration,
}

impl Limit {
    const fn new(limit: Duration, since: Instant) -> Self {
        Self { limit, since, half: None, stretched: Duration::ZERO }
    }

    /// The next time to check it.
    fn due(&self) -> Instant {
        match self.half {
            None => self.since + self.limit / 2,
            Some(_) => self.end(),
        }
    }

    /// The time at which it passes, by what is known now. Where vmlab itself was stopped, its half was seen late, and its
    /// end is as late.
    fn end(&self) -> Instant {
        let half = self.half.map_or(self.since + self.limit / 2, |(at, _)| at);
        half + self.limit / 2 + self.stretched
    }

    /// Checks it. Some where it has passed: what changed since its half, where the host can tell.
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

/// What has changed since a limit's half.
#[derive(Debug, Clone, Copy)]
struct Since {
    time: Duration,
    run: Duration,
    runqueue_wait: Duration,
}

/// A limit that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) which: Deadline,
    pub(crate) limit: Duration,
    pub(crate) stretched: Duration,
}

/// What the host waits for, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Deadlines {
    which: Deadline,
    whole: Limit,
    /// While a job runs.
    silence: Option<Limit>,
}

impl Deadlines {
    /// From now on.
    pub(crate) const fn new(which: Deadline, limit: Duration, now: Instant) -> Self {
        Self { which, whole: Limit::new(limit, now), silence: None }
    }

    /// For a job, which may not be silent for as long as `silence`.
    pub(crate) fn job(limit: Duration, silence: Duration, now: Instant) -> Self {
        Self {
            which: Deadline::Scenario,
            whole: Limit::new(limit, now),
            silence: Some(Limit::new(silence, now)).filter(|_| silence < limit),
        }
    }

    /// Which limit is being kept.
    pub(crate) const fn which(&self) -> Deadline {
        self.which
    }

    /// The guest was active on any channel.
    pub(crate) fn activity(&mut self, now: Instant) {
        if let Some(silence) = &mut self.silence {
            *silence = Limit::new(silence.limit, now);
        }
    }

    /// The next time to check.
    pub(crate) fn due(&self) -> Instant {
        let whole = self.whole.due();
        self.silence.map_or(whole, |silence| silence.due().min(whole))
    }

    /// The time that is left, by what is known now.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.whole.end().saturating_duration_since(now)
    }

    /// Checks what is due, with QEMU's CPU usage. None where the host waits on.
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
        let whole = &mut self.whole;
        let since = whole.check(now, usage)?;
        let stretched = since.map_or(Duration::ZERO, |since| since.runqueue_wait).min(whole.limit * (MAX_STRETCH - 1));
        if stretched > whole.stretched + whole.limit / MIN_STRETCH_PART {
            whole.stretched = stretched;
            if now < whole.due() {
                return None;
            }
        }
        Some(Passed { which: self.which, limit: whole.limit, stretched: whole.stretched })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(100);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Checks deadlines whenever they are due, with (run time, wait for a processor) at that time, until a limit has passed.
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
            assert!(deadlines.due() > now, "it is always looked at later");
        }
        panic!("it never ends");
    }

    fn whole(stretched: Duration) -> Passed {
        Passed { which: Deadline::Boot, limit: LIMIT, stretched }
    }

    #[test]
    fn without_load_a_limit_is_what_it_is() {
        let boot = || Deadlines::new(Deadline::Boot, LIMIT, Instant::now());
        assert_eq!(played(boot(), |at| Some((at, Duration::ZERO))), (whole(s(0)), LIMIT));
        assert_eq!(played(boot(), |_| Some((s(0), s(0)))), (whole(s(0)), LIMIT));
        assert_eq!(played(boot(), |_| None), (whole(s(0)), LIMIT), "where nothing is known");
        // Now and then another process is first.
        assert_eq!(played(boot(), |at| Some((at, at / 50))).1, LIMIT);
    }

    #[test]
    fn a_host_that_gives_half_the_time_stretches_the_second_half() {
        let (passed, at) = played(Deadlines::new(Deadline::Boot, LIMIT, Instant::now()), |at| Some((at / 2, at / 2)));
        // 50 s, then 50 s of running time, which takes 100 s, but for what is not worth a stretch.
        assert!(passed.stretched > s(40) && passed.stretched <= s(50), "{passed:?}");
        assert_eq!(at, LIMIT + passed.stretched);
    }

    #[test]
    fn a_host_that_gives_nothing_is_not_waited_for_without_end() {
        let (passed, at) = played(Deadlines::new(Deadline::Boot, LIMIT, Instant::now()), |at| Some((s(0), at)));
        assert_eq!((passed, at), (whole(LIMIT * 3), LIMIT * 4));
    }

    #[test]
    fn what_was_starved_of_before_a_limits_half_does_not_count() {
        let (passed, _) = played(Deadlines::new(Deadline::Boot, LIMIT, Instant::now()), |_| Some((s(0), s(1000))));
        assert_eq!(passed, whole(s(0)));
    }

    #[test]
    fn silence_ends_only_what_does_nothing() {
        let silence = Passed { which: Deadline::Silence, limit: s(20), stretched: s(0) };
        let scenario = || Deadlines::job(LIMIT, s(20), Instant::now());
        assert_eq!(played(scenario(), |_| Some((s(3), s(0)))), (silence, s(20)));
        assert_eq!(played(scenario(), |at| Some((at / 50, s(0)))), (silence, s(20)));
        // Where nothing is known of progress, silence is all that is known.
        assert_eq!(played(scenario(), |_| None), (silence, s(20)));
        // It computes, or would, were there a processor.
        let (passed, at) = played(scenario(), |at| Some((at, s(0))));
        assert_eq!((passed.which, at), (Deadline::Scenario, LIMIT));
        let (passed, at) = played(scenario(), |at| Some((s(0), at)));
        assert_eq!((passed.which, at), (Deadline::Scenario, LIMIT * 4));
        // It computed for 50 s, and then nothing more.
        let (passed, at) = played(scenario(), |at| Some((at.min(s(50)), s(0))));
        assert_eq!(passed, silence);
        assert!(at >= s(60) && at <= s(90), "{at:?}");
    }

    #[test]
    fn a_word_ends_a_silence() {
        let mut deadlines = Deadlines::job(LIMIT, s(20), Instant::now());
        let start = deadlines.whole.since;
        assert_eq!(deadlines.check(start + s(10), Some(CpuUsage::default())), None);
        deadlines.activity(Instant::now());
        let due = deadlines.due() - start;
        assert!(due >= s(10) && due < s(11), "it begins anew: {due:?}");
        assert_eq!(deadlines.check(start + s(21), Some(CpuUsage::default())), None, "half of a new silence");
    }

    #[test]
    fn a_silence_that_is_longer_than_the_scenario_is_none() {
        assert!(Deadlines::job(s(5), s(5), Instant::now()).silence.is_none());
    }

    #[test]
    fn a_vmlab_that_was_stopped_looks_again() {
        let mut deadlines = Deadlines::new(Deadline::Boot, LIMIT, Instant::now());
        let late = deadlines.whole.since + LIMIT * 2;
        assert_eq!(deadlines.check(late, Some(CpuUsage::default())), None);
        assert_eq!(deadlines.due(), late + LIMIT / 2);
        assert_eq!(deadlines.check(late + LIMIT / 2, Some(CpuUsage::default())), Some(whole(s(0))));
    }
}
