//! The attempts at a run's jobs: their numbers, whether another attempt is due, and the final verdict, which merges all
//! attempts into one. Pure: events are returned.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::stop::Stop;
use crate::verdict::merge::{Outcomes, merge};
use crate::verdict::{cut_short, failure_found, lab_fault};
use vmlab_events::attempts::Attempts;
use vmlab_events::event::{JobReport, LabEvent};
use vmlab_events::job::{Job, JobSpec};
use vmlab_events::schedule::Repetition;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::{Class, Verdict};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// The attempt has its own verdict.
    Complete,
    /// The run ended during the attempt.
    Cut,
    /// The attempt was not made, and will not be.
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
    /// The number of started attempts.
    numbered: u32,
    attempts: Attempts,
    /// The number of attempts before the first failure.
    good_before: u32,
    first_failed: Option<JobReport>,
    first_good: Option<JobReport>,
    first_skipped: Option<JobReport>,
    /// The report that says why attempts were not made.
    never: Option<JobReport>,
    /// Whether another attempt is due.
    due: bool,
    /// The numbers of the attempts that the host lost and that are due again.
    lost: Vec<u32>,
    /// The numbers of the attempts that the host lost once, and that were made again or are due again.
    made_again: BTreeSet<u32>,
    /// The first attempt that the host lost twice; its verdict is the final one.
    lost_twice: Option<JobReport>,
    is_final: bool,
}

impl AttemptTracker {
    pub(crate) fn new(repetition: Repetition) -> Self {
        Self { repetition, jobs: RefCell::default() }
    }

    /// Registers the jobs of each target; each gets a final verdict.
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

    /// The number of another attempt at the job, if one is due. The caller makes the attempt.
    pub(crate) fn next_due(&self, target: &TargetId, job: &Job) -> Option<u32> {
        let mut jobs = self.jobs.borrow_mut();
        let attempted = jobs.get_mut(&(target.clone(), job.clone()))?;
        if let Some(number) = attempted.lost.pop() {
            return Some(number);
        }
        std::mem::take(&mut attempted.due).then(|| {
            attempted.numbered += 1;
            attempted.numbered
        })
    }

    /// The verdict on all jobs that are left, where the run is to end with the first failure, and a job has failed.
    pub(crate) fn has_found(&self) -> Option<Verdict> {
        let searching = matches!(self.repetition, Repetition::UntilFailure { .. });
        let jobs = self.jobs.borrow();
        let has_failed = |attempted: &Attempted| attempted.attempts.failures > 0 || attempted.lost_twice.is_some();
        let mut failed = jobs.iter().filter(|(_, attempted)| searching && has_failed(attempted));
        failed.next().map(|((target, job), _)| failure_found(job.clone(), target.clone()))
    }

    /// Records the end of an attempt; returns the events to emit. `over` says that no other attempt can follow.
    pub(crate) fn take(&self, report: JobReport, end: AttemptEnd, over: bool) -> Vec<LabEvent> {
        let mut jobs = self.jobs.borrow_mut();
        let attempted = jobs.entry((report.target.clone(), report.job.clone())).or_default();
        let by_host = end == AttemptEnd::Complete && report.verdict.is_loss_by_host();
        if by_host && self.repetition != Repetition::Once && !over {
            return attempted.lost_by_host(report, self.repetition);
        }
        let nothing = JobReport::without_guest(report.target.clone(), report.job.clone(), lab_fault());
        let only = match self.repetition {
            Repetition::Once => true,
            // If the first attempt is the last one, its report is the final one.
            Repetition::Retries { .. } => {
                attempted.attempts.runs == 0
                    && (end != AttemptEnd::Complete || over || !report.verdict.class().is_failure())
            }
            Repetition::Runs { .. } | Repetition::UntilFailure { .. } => false,
        };
        if only {
            attempted.is_final = true;
            return vec![LabEvent::JobFinished(Box::new(report))];
        }
        let mut events: Vec<_> = attempted.add(report, end).map(LabEvent::JobAttempted).into_iter().collect();
        if let Repetition::Retries { at_most } = self.repetition {
            let failed = attempted.attempts.runs == attempted.attempts.failures;
            attempted.due = failed && end == AttemptEnd::Complete && attempted.attempts.runs <= at_most && !over;
            if !attempted.due {
                events.push(attempted.conclude(self.repetition, nothing));
            }
        }
        events
    }

    /// Ends the run; returns the final verdicts of the other jobs.
    pub(crate) fn close(&self, stopped: Option<Stop>) -> Vec<LabEvent> {
        let mut jobs = self.jobs.borrow_mut();
        let open = jobs.iter_mut().filter(|(_, attempted)| !attempted.is_final);
        open.map(|((target, job), attempted)| {
            let verdict = stopped.map_or_else(lab_fault, Stop::not_run);
            let nothing = JobReport::without_guest(target.clone(), job.clone(), verdict);
            // Attempts that the end of the run prevents are not reported one by one.
            attempted.never.get_or_insert_with(|| nothing.clone());
            attempted.conclude(self.repetition, nothing)
        })
        .collect()
    }
}

impl Attempted {
    /// Records an attempt that the host lost. It is no attempt at the job, so it is made again under its number. If the
    /// host loses it again, the host cannot run the job, and that is the final verdict.
    fn lost_by_host(&mut self, report: JobReport, repetition: Repetition) -> Vec<LabEvent> {
        let (target, number) = (&report.target, report.attempt);
        if self.made_again.insert(number) {
            self.lost.push(number);
            let (job, detail) = (report.job.name(), report.verdict.detail());
            let text = format!("{target}: the host lost attempt {number} at {job}, so vmlab makes it again: {detail}");
            return vec![LabEvent::Notice { text }];
        }
        self.lost_twice.get_or_insert_with(|| report.clone());
        match repetition {
            Repetition::Retries { .. } => vec![self.conclude(repetition, report)],
            Repetition::Once | Repetition::Runs { .. } | Repetition::UntilFailure { .. } => Vec::new(),
        }
    }

    /// Adds an attempt; returns it if it is reported separately.
    fn add(&mut self, mut report: JobReport, end: AttemptEnd) -> Option<Box<JobReport>> {
        match end {
            AttemptEnd::Complete => {}
            AttemptEnd::Cut => {
                report.verdict = cut_short(report.verdict);
            }
            AttemptEnd::Never => {
                self.never.get_or_insert(report);
                return None;
            }
        }
        self.attempts.add(report.in_short());
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

    /// The final report on all attempts; `nothing` if there was no attempt.
    fn conclude(&mut self, repetition: Repetition, nothing: JobReport) -> LabEvent {
        self.is_final = true;
        let attempts = (self.attempts.runs > 0).then(|| self.attempts.clone());
        if let Some(lost) = self.lost_twice.take() {
            return LabEvent::JobFinished(Box::new(JobReport { attempts, ..lost }));
        }
        let verdict = self.verdict(repetition);
        let evidence = [&mut self.first_failed, &mut self.first_skipped, &mut self.first_good, &mut self.never];
        let mut report = evidence.into_iter().find_map(Option::take).unwrap_or(nothing);
        if let Some(verdict) = verdict {
            report.verdict = verdict;
        }
        LabEvent::JobFinished(Box::new(JobReport { attempts, ..report }))
    }

    /// The verdict on all attempts; None if the first report's own verdict stands.
    fn verdict(&self, repetition: Repetition) -> Option<Verdict> {
        fn verdict(report: &Option<JobReport>) -> Option<&Verdict> {
            report.as_ref().map(|report| &report.verdict)
        }
        merge(
            repetition,
            Outcomes {
                runs: self.attempts.runs,
                failures: self.attempts.failures,
                good_before: self.good_before,
                failed: verdict(&self.first_failed),
                skipped: verdict(&self.first_skipped),
                good: verdict(&self.first_good),
                never: verdict(&self.never),
            },
        )
    }
}

#[cfg(test)]
mod tests;
