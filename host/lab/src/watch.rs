//! Deadlines: what is waited for, until when, and whether a guest that did not come in time is slow or dead. Pure: the
//! clock and what the host says of QEMU are passed in.
//!
//! A limit is wall-clock time, but its second half counts only while QEMU could run: by as much as its threads stood
//! ready in that time and the host gave them no processor, the limit is stretched, and looked at again when that has
//! passed too; at most to [`STRETCH`] times itself. A guest on a host without load gets exactly its limit. Silence counts
//! only while QEMU does nothing either: a guest that computes makes progress, and has the scenario's own limit.
//!
//! Nothing is looked at before half of a limit has passed, so a guest that does well pays nothing for all this.

use std::time::Duration;

use tokio::time::Instant;

use vmlab_events::loss::Deadline;
use vmlab_qemu::vitals::Vitals;

/// How many times itself a limit may become by stretching.
const STRETCH: u32 = 4;
/// A stretch that is shorter than this part of the limit is none: a busy moment is no load.
const WORTH: u32 = 20;
/// A guest that has had less than this part of the time on a processor does nothing.
const IDLE: u32 = 10;

/// A limit that is being kept.
#[derive(Debug, Clone, Copy)]
struct Limit {
    limit: Duration,
    since: Instant,
    /// When half of it had passed, and what was known then.
    half: Option<(Instant, Option<Vitals>)>,
    stretched: Duration,
}

impl Limit {
    const fn new(limit: Duration, since: Instant) -> Self {
        Self { limit, since, half: None, stretched: Duration::ZERO }
    }

    /// When it is to be looked at next.
    fn due(&self) -> Instant {
        match self.half {
            None => self.since + self.limit / 2,
            Some(_) => self.end(),
        }
    }

    /// When it passes, as it looks now. Where vmlab itself was stopped, its half was seen late, and so is its end.
    fn end(&self) -> Instant {
        let half = self.half.map_or(self.since + self.limit / 2, |(at, _)| at);
        half + self.limit / 2 + self.stretched
    }

    /// Looks at it. Some, where it was due for the last time: what changed since its half, if that is known.
    fn look(&mut self, now: Instant, vitals: Option<Vitals>) -> Option<Option<Since>> {
        if now < self.due() {
            return None;
        }
        match self.half {
            None => {
                self.half = Some((now, vitals));
                None
            }
            Some((at, then)) => Some(then.zip(vitals).map(|(then, vitals)| Since {
                time: now.saturating_duration_since(at),
                had: vitals.had.saturating_sub(then.had),
                starved: vitals.starved.saturating_sub(then.starved),
            })),
        }
    }
}

/// What has changed since a limit's half.
#[derive(Debug, Clone, Copy)]
struct Since {
    time: Duration,
    had: Duration,
    starved: Duration,
}

/// A limit that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) which: Deadline,
    pub(super) limit: Duration,
    pub(super) stretched: Duration,
}

/// What a guest is waited for.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    which: Deadline,
    whole: Limit,
    /// While a scenario runs.
    silence: Option<Limit>,
}

impl Watch {
    /// From now on.
    pub(super) fn new(which: Deadline, limit: Duration) -> Self {
        Self { which, whole: Limit::new(limit, Instant::now()), silence: None }
    }

    /// A scenario, which may not be silent for as long as that.
    pub(super) fn scenario(limit: Duration, silence: Duration) -> Self {
        let now = Instant::now();
        Self {
            which: Deadline::Scenario,
            whole: Limit::new(limit, now),
            silence: Some(Limit::new(silence, now)).filter(|_| silence < limit),
        }
    }

    /// Which limit it is.
    pub(super) const fn which(&self) -> Deadline {
        self.which
    }

    /// The guest said something, wherever.
    pub(super) fn heard(&mut self) {
        if let Some(silence) = &mut self.silence {
            *silence = Limit::new(silence.limit, Instant::now());
        }
    }

    /// When it is to be looked at next.
    pub(super) fn due(&self) -> Instant {
        let whole = self.whole.due();
        self.silence.map_or(whole, |silence| silence.due().min(whole))
    }

    /// How long it lasts yet, as it looks now.
    pub(super) fn left(&self) -> Duration {
        self.whole.end().saturating_duration_since(Instant::now())
    }

    /// Looks at it when it is due, with what the host says of QEMU then. None where the guest is to be waited for further.
    pub(super) fn look(&mut self, now: Instant, vitals: Option<Vitals>) -> Option<Passed> {
        if let Some(silence) = &mut self.silence
            && let Some(since) = silence.look(now, vitals)
        {
            let works = |since: Since| since.had.max(since.starved) >= since.time / IDLE;
            if since.is_some_and(works) {
                *silence = Limit::new(silence.limit, now);
            } else {
                let (limit, stretched) = (silence.limit, Duration::ZERO);
                return Some(Passed { which: Deadline::Silence, limit, stretched });
            }
        }
        let whole = &mut self.whole;
        let since = whole.look(now, vitals)?;
        let stretched = since.map_or(Duration::ZERO, |since| since.starved).min(whole.limit * (STRETCH - 1));
        if stretched > whole.stretched + whole.limit / WORTH {
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

    /// A watch, and looks at it at so many seconds from its start with (had, starved) until it has passed: how.
    fn played(mut watch: Watch, vitals: impl Fn(Duration) -> Option<(Duration, Duration)>) -> (Passed, Duration) {
        let start = watch.whole.since;
        for _ in 0..1000 {
            let now = watch.due();
            let at = now - start;
            let vitals = vitals(at).map(|(had, starved)| Vitals { had, starved, stopped: false });
            if let Some(passed) = watch.look(now, vitals) {
                return (passed, at);
            }
            assert!(watch.due() > now, "it is always looked at later");
        }
        panic!("it never ends");
    }

    fn whole(stretched: Duration) -> Passed {
        Passed { which: Deadline::Boot, limit: LIMIT, stretched }
    }

    #[test]
    fn without_load_a_limit_is_what_it_is() {
        let boot = || Watch::new(Deadline::Boot, LIMIT);
        assert_eq!(played(boot(), |at| Some((at, Duration::ZERO))), (whole(s(0)), LIMIT));
        assert_eq!(played(boot(), |_| Some((s(0), s(0)))), (whole(s(0)), LIMIT));
        assert_eq!(played(boot(), |_| None), (whole(s(0)), LIMIT), "where nothing is known");
        // Now and then another process is first.
        assert_eq!(played(boot(), |at| Some((at, at / 50))).1, LIMIT);
    }

    #[test]
    fn a_host_that_gives_half_the_time_stretches_the_second_half() {
        let (passed, at) = played(Watch::new(Deadline::Boot, LIMIT), |at| Some((at / 2, at / 2)));
        // 50 s, then 50 s of running time, which takes 100 s, but for what is not worth a stretch.
        assert!(passed.stretched > s(40) && passed.stretched <= s(50), "{passed:?}");
        assert_eq!(at, LIMIT + passed.stretched);
    }

    #[test]
    fn a_host_that_gives_nothing_is_not_waited_for_without_end() {
        let (passed, at) = played(Watch::new(Deadline::Boot, LIMIT), |at| Some((s(0), at)));
        assert_eq!((passed, at), (whole(LIMIT * 3), LIMIT * 4));
    }

    #[test]
    fn what_was_starved_of_before_a_limits_half_does_not_count() {
        let (passed, _) = played(Watch::new(Deadline::Boot, LIMIT), |_| Some((s(0), s(1000))));
        assert_eq!(passed, whole(s(0)));
    }

    #[test]
    fn silence_ends_only_what_does_nothing() {
        let silence = Passed { which: Deadline::Silence, limit: s(20), stretched: s(0) };
        let scenario = || Watch::scenario(LIMIT, s(20));
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
        let mut watch = Watch::scenario(LIMIT, s(20));
        let start = watch.whole.since;
        assert_eq!(watch.look(start + s(10), Some(Vitals::default())), None);
        watch.heard();
        let due = watch.due() - start;
        assert!(due >= s(10) && due < s(11), "it begins anew: {due:?}");
        assert_eq!(watch.look(start + s(21), Some(Vitals::default())), None, "half of a new silence");
    }

    #[test]
    fn a_silence_that_is_longer_than_the_scenario_is_none() {
        assert!(Watch::scenario(s(5), s(5)).silence.is_none());
    }

    #[test]
    fn a_vmlab_that_was_stopped_looks_again() {
        let mut watch = Watch::new(Deadline::Boot, LIMIT);
        let late = watch.whole.since + LIMIT * 2;
        assert_eq!(watch.look(late, Some(Vitals::default())), None);
        assert_eq!(watch.due(), late + LIMIT / 2);
        assert_eq!(watch.look(late + LIMIT / 2, Some(Vitals::default())), Some(whole(s(0))));
    }
}
