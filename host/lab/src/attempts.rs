//! The books on a run's scenarios: which attempt is which, whether another one is due, and the last word on all of them.
//! Pure: what is to be told is given back.

use std::cell::RefCell;
use std::collections::BTreeMap;

use vmlab_protocol::catalogue::ScenarioSpec;

use super::lab::Stop;
use crate::verdict::merge::{Outcomes, merge};
use crate::verdict::{cut_short, failure_found, lab_fault};
use vmlab_events::attempts::Attempts;
use vmlab_events::event::{JobReport, LabEvent};
use vmlab_events::job::Job;
use vmlab_events::schedule::Repetition;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::{Class, Verdict};

/// How an attempt came to what it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// By itself.
    Made,
    /// The run ended while it ran.
    Cut,
    /// It was never tried, and never will be.
    Never,
}

/// The books. One for a run.
#[derive(Debug, Default)]
pub(super) struct Book {
    repetition: Repetition,
    tries: RefCell<BTreeMap<(TargetId, Job), Tries>>,
}

/// One scenario on one kernel.
#[derive(Debug, Default)]
struct Tries {
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

impl Book {
    /// For a run of these.
    pub(super) fn new(repetition: Repetition) -> Self {
        Self { repetition, tries: RefCell::default() }
    }

    /// All that a last word is due on.
    pub(super) fn open(&self, targets: &[TargetId], scenarios: &[ScenarioSpec]) {
        let mut tries = self.tries.borrow_mut();
        for target in targets {
            tries.extend(
                scenarios.iter().map(|spec| ((target.clone(), Job::Scenario(spec.id.clone())), Tries::default())),
            );
        }
    }

    /// The number of the attempt that begins now, from 1.
    pub(super) fn number(&self, target: &TargetId, job: &Job) -> u32 {
        let mut tries = self.tries.borrow_mut();
        let tries = tries.entry((target.clone(), job.clone())).or_default();
        tries.numbered += 1;
        tries.numbered
    }

    /// Whether another attempt at it is to be made.
    pub(super) fn is_due(&self, target: &TargetId, job: &Job) -> bool {
        self.tries.borrow().get(&(target.clone(), job.clone())).is_some_and(|tries| tries.due)
    }

    /// What failed, where the run is to end with the first failure.
    pub(super) fn has_found(&self) -> Option<Verdict> {
        let searching = matches!(self.repetition, Repetition::UntilFailure { .. });
        let tries = self.tries.borrow();
        let mut failed = tries.iter().filter(|(_, tries)| searching && tries.attempts.failures > 0);
        failed.next().map(|((target, job), _)| failure_found(job.clone(), target.clone()))
    }

    /// An attempt has ended. `over` is whether no other one can follow. Gives what is to be told.
    pub(super) fn take(&self, report: JobReport, came: Came, over: bool) -> Vec<LabEvent> {
        let mut tries = self.tries.borrow_mut();
        let tries = tries.entry((report.target.clone(), report.job.clone())).or_default();
        tries.due = false;
        let nothing = JobReport::without_guest(report.target.clone(), report.job.clone(), lab_fault());
        let only = match self.repetition {
            Repetition::Once => true,
            // Nothing to tell apart, where the first attempt is the last.
            Repetition::Retries { .. } => {
                tries.attempts.runs == 0 && (came != Came::Made || over || !report.verdict.class().is_failure())
            }
            Repetition::Runs { .. } | Repetition::UntilFailure { .. } => false,
        };
        if only {
            tries.settled = true;
            return vec![LabEvent::JobFinished(Box::new(report))];
        }
        let mut told: Vec<_> = tries.add(report, came).map(LabEvent::JobAttempted).into_iter().collect();
        if let Repetition::Retries { at_most } = self.repetition {
            let failed = tries.attempts.runs == tries.attempts.failures;
            tries.due = failed && came == Came::Made && tries.attempts.runs <= at_most && !over;
            if !tries.due {
                told.push(tries.settle(self.repetition, nothing));
            }
        }
        told
    }

    /// The run is over: the last word on all that have none yet.
    pub(super) fn close(&self, stopped: Option<Stop>) -> Vec<LabEvent> {
        let mut tries = self.tries.borrow_mut();
        let open = tries.iter_mut().filter(|(_, tries)| !tries.settled);
        open.map(|((kernel, scenario), tries)| {
            let verdict = stopped.map_or_else(lab_fault, Stop::not_run);
            tries.settle(self.repetition, JobReport::without_guest(kernel.clone(), scenario.clone(), verdict))
        })
        .collect()
    }
}

impl Tries {
    /// Adds an attempt, and gives it back where it is to be told of.
    fn add(&mut self, mut report: JobReport, came: Came) -> Option<Box<JobReport>> {
        match came {
            Came::Made => {}
            Came::Cut => {
                report.verdict = cut_short(report.verdict);
            }
            Came::Never => {
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

    /// The last word on all attempts; `nothing`, where nothing is known of any.
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
