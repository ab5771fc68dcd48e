//! The attempts at a run's jobs: their numbers, whether another attempt is due, and the final verdict, which merges all
//! attempts into one. Pure: events are given back.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::stop::Stop;
use vmlab_events::attempts::Attempts;
use vmlab_events::event::{JobReport, LabEvent};
use vmlab_events::job::{Job, JobSpec};
use vmlab_events::schedule::Repetition;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::{Class, Verdict};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// It has a verdict of its own.
    Complete,
    /// The run ended while it ran.
    Cut,
    /// It was never made, and never will be.
    Never,
}

/// Decides whether to retry, and merges all attempts into one final verdict. There is one tracker for a run.
#[derive(Debug, Default)]
pub(crate) struct AttemptTracker {
    repetition: Repetition,
    jobs: RefCell<BTreeMap<(TargetId, Job), Attempted>>,
}

/// The attempts at one job on one target.
#[derive(Debug, Default)]
struct Attempted {
    /// Attempts that have a number.
    numbered: u32,
    attempts: Attempts,
    /// How many had ended and not failed before the first that failed.
    good_before: u32,
    first_failed: Option<JobReport>,
    first_good: Option<JobReport>,
    first_skipped: Option<JobReport>,
    /// Why there was no attempt at all, or not as many as there were to be.
    never: Option<JobReport>,
    /// Another attempt is to be made.
    due: bool,
    settled: bool,
}

impl AttemptTracker {
    pub(crate) fn new(repetition: Repetition) -> Self {
        Self { repetition, jobs: RefCell::default() }
    }

    /// A final verdict is due on each of these jobs on each of these targets.
    pub(crate) fn open(&self, targets: &[TargetId], jobs: &[JobSpec]) {
        let mut all = self.jobs.borrow_mut();
        for target in targets {
            all.extend(jobs.iter().map(|spec| ((target.clone(), spec.job()), Attempted::default())));
        }
    }

    /// The number of the next attempt, from 1.
    pub(crate) fn next_number(&self, target: &TargetId, job: &Job) -> u32 {
        let mut jobs = self.jobs.borrow_mut();
        let attempted = jobs.entry((target.clone(), job.clone())).or_default();
        attempted.numbered += 1;
        attempted.numbered
    }

    /// Whether another attempt at it is to be made.
    pub(crate) fn is_due(&self, target: &TargetId, job: &Job) -> bool {
        self.jobs.borrow().get(&(target.clone(), job.clone())).is_some_and(|attempted| attempted.due)
    }

    /// What failed, where the run is to end with the first failure.
    pub(crate) fn has_found(&self) -> Option<String> {
        let searching = matches!(self.repetition, Repetition::UntilFailure { .. });
        let jobs = self.jobs.borrow();
        let mut failed = jobs.iter().filter(|(_, attempted)| searching && attempted.attempts.failures > 0);
        failed.next().map(|((target, job), _)| format!("{job} on {target} failed"))
    }

    /// An attempt has ended. `over` is whether no other attempt can follow. Gives the events to emit.
    pub(crate) fn take(&self, report: JobReport, end: AttemptEnd, over: bool) -> Vec<LabEvent> {
        let mut jobs = self.jobs.borrow_mut();
        let attempted = jobs.entry((report.target.clone(), report.job.clone())).or_default();
        attempted.due = false;
        let nothing = JobReport::without_guest(report.target.clone(), report.job.clone(), lost());
        let only = match self.repetition {
            Repetition::Once => true,
            // Nothing to tell apart, where the first attempt is the last.
            Repetition::Retries { .. } => {
                attempted.attempts.runs == 0
                    && (end != AttemptEnd::Complete || over || !report.verdict.class().is_failure())
            }
            Repetition::Runs { .. } | Repetition::UntilFailure { .. } => false,
        };
        if only {
            attempted.settled = true;
            return vec![LabEvent::JobFinished(Box::new(report))];
        }
        let mut events: Vec<_> = attempted.add(report, end).map(LabEvent::JobAttempted).into_iter().collect();
        if let Repetition::Retries { at_most } = self.repetition {
            let failed = attempted.attempts.runs == attempted.attempts.failures;
            attempted.due = failed && end == AttemptEnd::Complete && attempted.attempts.runs <= at_most && !over;
            if !attempted.due {
                events.push(attempted.settle(self.repetition, nothing));
            }
        }
        events
    }

    /// The run is over: the final verdict on each job that has none yet.
    pub(crate) fn close(&self, stopped: Option<Stop>) -> Vec<LabEvent> {
        let mut jobs = self.jobs.borrow_mut();
        let open = jobs.iter_mut().filter(|(_, attempted)| !attempted.settled);
        open.map(|((target, job), attempted)| {
            let verdict = stopped.map_or_else(lost, Stop::not_run);
            attempted.settle(self.repetition, JobReport::without_guest(target.clone(), job.clone(), verdict))
        })
        .collect()
    }
}

fn good(runs: u32) -> String {
    format!("{runs} good one{}", if runs == 1 { "" } else { "s" })
}

/// A verdict can only be lost by a fault in vmlab itself, which a notice has reported.
fn lost() -> Verdict {
    Verdict::NotRun { reason: "a fault in vmlab itself lost its verdict".to_owned() }
}

impl Attempted {
    /// Adds an attempt, and gives it back where it is reported on its own.
    fn add(&mut self, mut report: JobReport, end: AttemptEnd) -> Option<Box<JobReport>> {
        match end {
            AttemptEnd::Complete => {}
            AttemptEnd::Cut => {
                report.verdict = Verdict::NotRun { reason: report.verdict.detail().to_owned() };
            }
            AttemptEnd::Never => {
                self.never.get_or_insert(report);
                return None;
            }
        }
        self.attempts.add(&report);
        let class = report.verdict.class();
        if class.is_failure() && self.first_failed.is_none() {
            self.good_before = self.attempts.runs - 1;
        }
        let first = match class {
            Class::Good => &mut self.first_good,
            Class::Skipped => &mut self.first_skipped,
            Class::NotRun => &mut self.never,
            Class::Flaky | Class::Bad | Class::TimedOut | Class::Crashed | Class::Lab => &mut self.first_failed,
        };
        first.get_or_insert_with(|| report.clone());
        Some(Box::new(report))
    }

    /// The final verdict on all attempts; `nothing`, where there was no attempt.
    fn settle(&mut self, repetition: Repetition, nothing: JobReport) -> LabEvent {
        self.settled = true;
        let verdict = self.verdict(repetition);
        let evidence = [&mut self.first_failed, &mut self.first_skipped, &mut self.first_good, &mut self.never];
        let mut report = evidence.into_iter().find_map(Option::take).unwrap_or(nothing);
        let attempts = (self.attempts.runs > 0).then(|| self.attempts.clone());
        if let Some(verdict) = verdict {
            report.verdict = verdict;
        }
        LabEvent::JobFinished(Box::new(JobReport { attempts, ..report }))
    }

    /// The verdict on all attempts; none where it is that of the evidence.
    fn verdict(&self, repetition: Repetition) -> Option<Verdict> {
        let Attempts { runs, failures, .. } = self.attempts;
        match (&self.first_failed, &self.first_skipped, &self.first_good) {
            // All failed: the first one's verdict stands.
            (Some(_), None, None) => None,
            (Some(failed), ..) => {
                let after =
                    if self.good_before == 0 { String::new() } else { format!(" after {}", good(self.good_before)) };
                let (word, why, noun) = (failed.verdict.word(), failed.verdict.detail(), repetition.noun());
                let detail = format!("{failures} of {runs} {noun}s failed, first with {word}{after}: {why}");
                Some(Verdict::Flaky { detail })
            }
            (None, Some(skipped), Some(_)) => {
                let why = skipped.verdict.detail();
                Some(Verdict::Flaky { detail: format!("skipped in some of {runs} runs and not in others: {why}") })
            }
            _ => match repetition {
                Repetition::Runs { count } if 0 < runs && runs < count => {
                    let why = self.never.as_ref().map_or_else(lost, |never| never.verdict.clone());
                    let reason =
                        format!("only {runs} of {count} runs were made, none of which failed: {}", why.detail());
                    Some(Verdict::NotRun { reason })
                }
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
