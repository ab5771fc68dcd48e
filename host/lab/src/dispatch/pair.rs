//! Runs jobs that need two linked guests. Both guests run the job at the same time; their reports become one.

use std::rc::Rc;

use vmlab_events::event::JobReport;
use vmlab_events::job::JobSpec;
use vmlab_events::verdict::{LaunchFailure, StartFailure, Verdict};
use vmlab_protocol::message::Side;

use super::runner::TargetRunner;
use super::source::Source;
use crate::attempts::AttemptEnd;
use crate::context::Options;
use crate::guest::link::{self, PairReports};
use crate::guest::{DeadFork, Guest, Origin, Outcome, QueuedJob, launch_linked};
use crate::verdict;
use crate::verdict::pair::of_both;

/// What came of a guest of two.
enum Half {
    Reported(Box<JobReport>, AttemptEnd),
    /// The fork failed before the job, which is no evidence about it.
    ForkFailed(DeadFork),
}

impl TargetRunner {
    /// Runs each job in two guests of its own.
    pub(super) async fn run_in_pairs(self: Rc<Self>, jobs: Vec<JobSpec>) {
        for (number, spec) in jobs.iter().enumerate() {
            if number > 0 {
                self.expect_guest();
            }
            self.serve_pair(spec, None).await;
            while let Some(attempt) = self.run.attempts.next_due(&self.bootable.target.id, &spec.job()) {
                self.expect_guest();
                self.serve_pair(spec, Some(attempt)).await;
            }
        }
    }

    /// Makes one attempt at a job. It gets its number when there is a source of guests.
    async fn serve_pair(&self, spec: &JobSpec, mut attempt: Option<u32>) {
        loop {
            // Where only one guest may run at a time, the two still run together.
            let Options { machines, guests_at_once, .. } = self.run.options;
            let slots = machines.slots_of(self.variant(), guests_at_once);
            // The semaphore is never closed.
            let Ok(_slots) = self.run.slots.acquire_many(slots).await else { return };
            let source = self.source().await;
            self.waiting.set(self.waiting.get().saturating_sub(1));
            let mut number = |end| {
                *attempt.get_or_insert_with(|| match end {
                    AttemptEnd::Never => 1,
                    AttemptEnd::Complete | AttemptEnd::Cut => {
                        self.run.attempts.next_number(&self.bootable.target.id, &spec.job())
                    }
                })
            };
            let job = |attempt| vec![QueuedJob { attempt, spec: spec.clone() }];
            let source = match source {
                Ok(source) => source,
                Err((verdict, AttemptEnd::Complete)) if self.boots_again(&verdict) => {
                    self.expect_guest();
                    continue;
                }
                Err((verdict, end)) => return self.report_all(job(number(end)), &verdict, end),
            };
            let attempt = number(AttemptEnd::Complete);
            let ((first, second), reports) = match self.launch_pair(&source) {
                Ok(pair) => pair,
                Err(why) => {
                    let verdict = verdict::not_started(why);
                    return self.report_all(job(attempt), &verdict, AttemptEnd::Complete);
                }
            };
            let (first, second) = tokio::join!(first.run(&self.run, job(attempt)), second.run(&self.run, job(attempt)));
            let half = |side, outcome| self.half(side, outcome, &reports, spec, attempt);
            match (half(Side::First, first), half(Side::Second, second)) {
                (Half::Reported(first, end), Half::Reported(second, other_end)) => {
                    self.came_up.set(true);
                    let end = if other_end == AttemptEnd::Complete { end } else { other_end };
                    return self.run.attempt_ended(of_both(*first, *second), end);
                }
                (Half::ForkFailed(dead), _) | (_, Half::ForkFailed(dead)) => {
                    if !self.is_replaced(&dead) {
                        self.give_up_forks(&dead).await;
                    }
                }
            }
            self.expect_guest();
        }
    }

    /// Starts two linked guests.
    fn launch_pair(&self, source: &Source) -> Result<((Guest, Guest), Rc<PairReports>), LaunchFailure> {
        let origin = match source {
            Source::Forks(template) => Origin::Fork(template),
            Source::ColdBoots => Origin::Boot,
        };
        let failed =
            |error: std::io::Error| LaunchFailure::NotStarted { step: StartFailure::Link, error: error.to_string() };
        let (first, second, reports) = link::new().map_err(failed)?;
        let launch = |end| launch_linked(&self.run, &self.bootable, &origin, Some(end));
        Ok(((launch(first)?, launch(second)?), reports))
    }

    /// The report of one side, or the reason why another pair is due.
    fn half(&self, side: Side, outcome: Outcome, reports: &PairReports, spec: &JobSpec, attempt: u32) -> Half {
        if let Some((report, end)) = reports.take(side) {
            return Half::Reported(Box::new(report), end);
        }
        let verdict = match outcome {
            Outcome::ForkFailed(dead, _) if self.run.stopped().is_none() => return Half::ForkFailed(dead),
            Outcome::NeverReady(verdict, _) => {
                self.boot_failed(&verdict);
                verdict
            }
            _ => self.over().unwrap_or_else(verdict::nothing_announced),
        };
        Half::Reported(Box::new(self.without_guest(spec, attempt, verdict)), AttemptEnd::Complete)
    }

    fn without_guest(&self, spec: &JobSpec, attempt: u32, verdict: Verdict) -> JobReport {
        let report = JobReport::without_guest(self.bootable.target.id.clone(), spec.job(), verdict);
        JobReport { attempt, ..report }
    }
}
