//! What must hold between the events of one run. Where it does not hold, events were removed, added or moved, and no report
//! of what is left can be trusted. A missing end is no such damage: it is what a power cut or SIGKILL leaves.

use std::collections::{BTreeMap, BTreeSet};

use crate::attempts::Attempts;
use crate::event::{Counts, JobReport, LabEvent, Stamped};
use crate::job::JobSpec;
use crate::target::TargetId;
use crate::{clean, text};

/// Events that cannot be those of one run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// The first event is not the start of a run.
    #[error("its events do not begin with the start of a run, so the beginning is missing or they are out of order")]
    Headless,
    /// A run starts twice.
    #[error("event {0} starts a run for a second time, so it is more than one record")]
    SecondStart(usize),
    /// An event after the end.
    #[error("event {0} comes after the end of the run, so the events are out of order or of more than one run")]
    AfterTheEnd(usize),
    /// The clock went back.
    #[error("event {0} happened before the one above it, so the events are out of order")]
    Earlier(usize),
    /// A verdict on a job or a target that was not announced.
    #[error("event {at} is the end of {what}, which the run was not to run")]
    Unannounced {
        /// The event's number, from 1.
        at: usize,
        /// The job and the target.
        what: String,
    },
    /// A second final verdict.
    #[error("event {at} ends {what} for a second time")]
    SecondEnd {
        /// The event's number, from 1.
        at: usize,
        /// The job and the target.
        what: String,
    },
    /// An attempt after the final verdict.
    #[error("event {at} is an attempt at {what}, which had ended before")]
    AfterItsEnd {
        /// The event's number, from 1.
        at: usize,
        /// The job and the target.
        what: String,
    },
    /// A final verdict that counts other attempts than were reported.
    #[error(
        "event {at} is the end of {what} after {counted}, and {found} were reported before: events are missing or were \
         changed"
    )]
    Attempts {
        /// The event's number, from 1.
        at: usize,
        /// The job and the target.
        what: String,
        /// As the final verdict counts them.
        counted: String,
        /// As reported by the events before.
        found: String,
    },
    /// The run's end counts other verdicts than there are.
    #[error(
        "the run ended with {}, and the verdicts in it come to {}: events are missing or were changed",
        sum(.counted), sum(.found)
    )]
    Counts {
        /// As the last event counts them.
        counted: Counts,
        /// As the other events come to.
        found: Counts,
    },
}

fn sum(counts: &Counts) -> String {
    if counts.total() == 0 { "none at all".to_owned() } else { text::counts(counts) }
}

/// Checks the events of a run, or of the beginning of one. Events of kinds that this version does not know may have been
/// left out.
///
/// # Errors
/// [`Impossible`]
pub fn check(events: &[Stamped]) -> Result<(), Impossible> {
    let Some(LabEvent::RunStarted { targets, jobs, .. }) = events.first().map(|first| &first.event) else {
        return Err(Impossible::Headless);
    };
    let (mut verdicts, mut ended, mut over) = (Counts::default(), BTreeSet::new(), false);
    let mut attempts = BTreeMap::<_, Attempts>::new();
    let mut elapsed_ms = 0;
    for (at, stamped) in (1..).zip(events) {
        if over {
            return Err(Impossible::AfterTheEnd(at));
        }
        if stamped.elapsed_ms < elapsed_ms {
            return Err(Impossible::Earlier(at));
        }
        elapsed_ms = stamped.elapsed_ms;
        match &stamped.event {
            LabEvent::RunStarted { .. } if at > 1 => return Err(Impossible::SecondStart(at)),
            LabEvent::JobAttempted(report) | LabEvent::JobFinished(report) if !announced(report, targets, jobs) => {
                return Err(Impossible::Unannounced { at, what: what(report) });
            }
            LabEvent::JobAttempted(report) => {
                let entry = (&report.target, &report.job);
                if ended.contains(&entry) {
                    return Err(Impossible::AfterItsEnd { at, what: what(report) });
                }
                attempts.entry(entry).or_default().add(report.in_short());
            }
            LabEvent::JobFinished(report) => {
                let entry = (&report.target, &report.job);
                if !ended.insert(entry) {
                    return Err(Impossible::SecondEnd { at, what: what(report) });
                }
                let (counted, found) = (tally(report.attempts.as_ref()), tally(attempts.remove(&entry).as_ref()));
                if counted != found {
                    return Err(Impossible::Attempts { at, what: what(report), counted, found });
                }
                verdicts.add(report.verdict.class());
            }
            LabEvent::RunFinished { counts, .. } if *counts != verdicts => {
                return Err(Impossible::Counts { counted: *counts, found: verdicts });
            }
            LabEvent::RunFinished { .. } => over = true,
            _ => {}
        }
    }
    Ok(())
}

fn what(report: &JobReport) -> String {
    format!("{} on {}", report.job, clean::line(report.target.as_str()))
}

fn tally(attempts: Option<&Attempts>) -> String {
    let (runs, failures) = attempts.map_or((0, 0), |attempts| (attempts.runs, attempts.failures));
    format!("{runs} attempts of which {failures} failed")
}

fn announced(report: &JobReport, targets: &[TargetId], jobs: &[JobSpec]) -> bool {
    targets.contains(&report.target) && jobs.iter().any(|spec| spec.is(&report.job))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::verdict::Class;

    fn is_final(stamped: &Stamped) -> bool {
        matches!(stamped.event, LabEvent::JobFinished(_))
    }

    #[test]
    fn a_run_and_every_beginning_of_it_are_possible() {
        let events = fixture::run();
        for length in 1..=events.len() {
            assert_eq!(check(&events[..length]), Ok(()), "{length}");
        }
    }

    #[test]
    fn a_beginning_that_is_missing() {
        assert_eq!(check(&fixture::run()[1..]), Err(Impossible::Headless));
        assert_eq!(check(&[]), Err(Impossible::Headless));
        let mut events = fixture::run();
        events.reverse();
        assert_eq!(check(&events), Err(Impossible::Headless));
    }

    #[test]
    fn two_runs_one_after_the_other() {
        let one = fixture::run();
        let length = one.len();
        assert_eq!(check(&[one.clone(), one.clone()].concat()), Err(Impossible::AfterTheEnd(length + 1)));
        // The first was cut off.
        let mut second = one.clone();
        second[0].elapsed_ms = one[4].elapsed_ms;
        assert_eq!(check(&[&one[..5], &second].concat()), Err(Impossible::SecondStart(6)));
    }

    #[test]
    fn verdicts_that_were_removed_changed_or_added() {
        let whole = fixture::run();
        for at in (0..whole.len()).filter(|&at| is_final(&whole[at])) {
            let mut events = whole.clone();
            let end = events.remove(at);
            assert!(matches!(check(&events), Err(Impossible::Counts { .. })), "{at}");
            events.insert(at, end.clone());
            events.insert(at, end);
            assert!(matches!(check(&events), Err(Impossible::SecondEnd { .. })), "{at}");
        }
        let at = whole.iter().position(is_final).unwrap();
        let mut events = whole.clone();
        let LabEvent::JobFinished(report) = &mut events[at].event else { panic!("no end of a scenario") };
        report.target = TargetId::new("debian:\x1bpotato");
        let error = check(&events).unwrap_err();
        assert!(matches!(error, Impossible::Unannounced { .. }) && !error.to_string().contains('\x1b'), "{error}");
        let mut events = whole;
        let LabEvent::JobFinished(report) = &mut events[at].event else { panic!("no end of a scenario") };
        report.verdict = crate::verdict::Verdict::Passed;
        let error = check(&events).unwrap_err().to_string();
        assert!(error.starts_with("the run ended with ") && error.contains("come to 9 passed"), "{error}");
    }

    #[test]
    fn attempts_that_were_removed_changed_or_added() {
        let whole = fixture::retried();
        for length in 1..=whole.len() {
            assert_eq!(check(&whole[..length]), Ok(()), "{length}");
        }
        let counted = |stamped: &Stamped| matches!(&stamped.event, LabEvent::JobAttempted(report) if report.verdict.class() != Class::NotRun);
        let attempts: Vec<_> = (0..whole.len()).filter(|&at| counted(&whole[at])).collect();
        assert!(attempts.len() > 4);
        for at in attempts {
            let mut events = whole.clone();
            let attempt = events.remove(at);
            let error = check(&events).unwrap_err();
            assert!(matches!(error, Impossible::Attempts { .. }), "{error}");
            events.insert(at, attempt.clone());
            events.insert(at, attempt.clone());
            assert!(matches!(check(&events), Err(Impossible::Attempts { .. })), "{at}");
            let LabEvent::JobAttempted(report) = &attempt.event else { panic!("{attempt:?}") };
            let is_end = |event: &LabEvent| matches!(event, LabEvent::JobFinished(end) if end.job == report.job);
            let end = whole.iter().position(|stamped| is_end(&stamped.event)).unwrap();
            let mut events = whole.clone();
            events.insert(end + 1, Stamped { elapsed_ms: whole[end].elapsed_ms, ..attempt });
            assert!(matches!(check(&events), Err(Impossible::AfterItsEnd { .. })), "{at}");
        }
    }

    #[test]
    fn events_in_another_order() {
        let mut events = fixture::run();
        events[1..].reverse();
        assert!(matches!(check(&events), Err(Impossible::Counts { .. } | Impossible::AfterTheEnd(_))));
        let mut events = fixture::run();
        events.swap(3, 4);
        assert_eq!(check(&events), Err(Impossible::Earlier(5)));
    }
}
