//! The verdict on a job that ran in two guests at once: the worse of the two. Pure.

use vmlab_events::event::JobReport;
use vmlab_events::verdict::{Class, Verdict};

/// The report on the job, from those of its two guests. The second guest's report keeps that guest's own verdict.
#[must_use]
pub fn of_both(first: JobReport, second: JobReport) -> JobReport {
    let verdict = if badness(&second.verdict) > badness(&first.verdict) { &second.verdict } else { &first.verdict };
    JobReport { verdict: verdict.clone(), peer: Some(Box::new(second)), ..first }
}

/// What decides between two verdicts: the lab's own faults first, because they say nothing about the kernel.
const fn badness(verdict: &Verdict) -> u8 {
    match verdict.class() {
        Class::Good if matches!(verdict, Verdict::Passed) => 0,
        Class::Good => 1,
        Class::Skipped => 2,
        Class::Flaky => 3,
        // A guest whose partner broke finds out by a failed leg or at its time limit.
        Class::Bad => 4,
        Class::TimedOut => 5,
        Class::Crashed => 6,
        Class::NotRun => 7,
        Class::Lab => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::target::TargetId;
    use vmlab_events::verdict::{Failure, Seen, Timeout};
    use vmlab_protocol::message::Leg;

    #[test]
    fn the_worse_verdict_is_the_jobs() {
        let failed = Verdict::Failed { reason: Failure::NotIsolated { finding: "lost".to_owned() } };
        let leaks = Verdict::Leaks { seen: Seen::Finding("both have PID 2".to_owned()) };
        let late = Verdict::TimedOut { reason: Timeout::Leg { leg: Leg::Subject, limit_ms: 1 } };
        let report = |verdict: &Verdict, guest| JobReport {
            guest: Some(guest),
            ..JobReport::without_guest(TargetId::new("k"), "net.link".parse().unwrap(), verdict.clone())
        };
        for (first, second, verdict) in [
            (&Verdict::Passed, &Verdict::Passed, &Verdict::Passed),
            (&Verdict::Passed, &failed, &failed),
            (&failed, &Verdict::Passed, &failed),
            (&leaks, &Verdict::Passed, &leaks),
            (&failed, &late, &late),
        ] {
            let both = of_both(report(first, 1), report(second, 2));
            assert_eq!((&both.verdict, both.guest), (verdict, Some(1)));
            let peer = both.peer.unwrap();
            assert_eq!((&peer.verdict, peer.guest), (second, Some(2)));
        }
    }
}
