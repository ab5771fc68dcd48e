//! What a guest's jobs have come to so far, and the one report that each announced job gets. Pure.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use vmlab_console::{Crash, Finding};
use vmlab_events::event::JobReport;
use vmlab_events::job::{Job, JobSpec};
use vmlab_events::verdict::{Class, Verdict};

use super::session::Findings;
use crate::attempts::AttemptEnd;
use crate::target::Target;
use crate::verdict::judge;

/// A job that waits for a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueuedJob {
    pub(crate) spec: JobSpec,
    /// Which attempt at it this is, from 1.
    pub(crate) attempt: u32,
}

/// A report on an attempt, and how the attempt ended.
pub(crate) type Reported = (Box<JobReport>, AttemptEnd);

/// The jobs of one guest. A job is queued, asked for, announced (it runs), ended, and reported, in this order.
#[derive(Debug)]
pub(crate) struct JobTracker {
    target: Rc<Target>,
    guest: u32,
    queue: VecDeque<QueuedJob>,
    /// Asked for and not announced yet.
    asked: Option<QueuedJob>,
    /// Announced and not ended yet.
    running: Option<Running>,
    /// Ended and not reported yet: what the console says up to the next marker still belongs to it.
    ended: Option<Ended>,
    /// The kernel's warnings that belong to the next report.
    warnings: Vec<Finding>,
    /// A job did not end in order, so that what it changed may still be there: the others need another guest.
    spoiled: bool,
}

#[derive(Debug)]
struct Running {
    job: QueuedJob,
    began: Instant,
}

#[derive(Debug)]
struct Ended {
    job: QueuedJob,
    findings: Box<Findings>,
    duration: Duration,
}

impl JobTracker {
    pub(crate) fn new(target: Rc<Target>, guest: u32, queue: Vec<QueuedJob>) -> Self {
        let (asked, running, ended, warnings) = (None, None, None, Vec::new());
        Self { target, guest, queue: queue.into(), asked, running, ended, warnings, spoiled: false }
    }

    /// Adds jobs to the queue.
    pub(crate) fn add(&mut self, jobs: Vec<QueuedJob>) {
        self.queue.extend(jobs);
    }

    /// The job to ask for next. None where no job is left for this guest.
    pub(crate) fn ask_next(&mut self) -> Option<&QueuedJob> {
        self.asked = if self.spoiled { None } else { self.queue.pop_front() };
        self.asked.as_ref()
    }

    /// Whether a job has ended whose report is still open to what the console says.
    pub(crate) const fn has_open_report(&self) -> bool {
        self.ended.is_some()
    }

    /// The job that was asked for was announced.
    pub(crate) fn started(&mut self, now: Instant) -> Option<&QueuedJob> {
        let job = self.asked.take()?;
        Some(&self.running.insert(Running { job, began: now }).job)
    }

    /// The job has ended; `spoiled` where other jobs need another guest.
    pub(crate) fn finished(&mut self, findings: Box<Findings>, spoiled: bool, now: Instant) {
        self.spoiled |= spoiled;
        self.ended = self.running.take().map(|Running { job, began }| {
            let duration = now.saturating_duration_since(began);
            Ended { job, findings, duration }
        });
    }

    /// These warnings belong to the next report.
    pub(crate) fn warn(&mut self, warnings: Vec<Finding>) {
        self.warnings.extend(warnings);
    }

    /// The report on the job that has ended, by all that belongs to it. None where no job has.
    pub(crate) fn close(&mut self, crash: Option<&Crash>) -> Option<Reported> {
        self.close_after(None, crash)
    }

    /// The guest was lost after its hello, its console has been read to the end, and the warnings are here. `crash` is what
    /// the console says; `open` is whether the console may have had more to say.
    ///
    /// The loss belongs to the job that runs; else to the one that ended last, since no other job has run; else to the one
    /// that was asked for, so that a guest that always dies there is not started again for ever. Where the run was ended,
    /// and not the guest (`by_run`), the loss belongs to no job but the one that runs.
    pub(crate) fn lost(
        &mut self,
        verdict: Verdict,
        by_run: bool,
        open: bool,
        crash: Option<&Crash>,
        findings: Findings,
        now: Instant,
    ) -> Option<Reported> {
        if let Some(Running { job, began }) = self.running.take() {
            let duration = now.saturating_duration_since(began);
            // A crash does not depend on when the run ends.
            let cut = by_run && verdict.class() != Class::Crashed;
            Some(self.report(
                job,
                verdict,
                findings,
                duration,
                if cut { AttemptEnd::Cut } else { AttemptEnd::Complete },
            ))
        } else if by_run {
            self.close_after(open.then_some((verdict, AttemptEnd::Cut)), crash)
        } else if self.ended.is_some() {
            self.close_after(Some((verdict, AttemptEnd::Complete)), crash)
        } else {
            let job = self.asked.take()?;
            Some(self.report(job, verdict, findings, Duration::ZERO, AttemptEnd::Complete))
        }
    }

    /// The job that a loss would belong to now.
    pub(crate) fn in_flight(&self) -> Option<Job> {
        let running = self.running.as_ref().map(|running| &running.job);
        let ended = self.ended.as_ref().map(|ended| &ended.job);
        running.or(ended).or(self.asked.as_ref()).map(|job| job.spec.job())
    }

    /// The jobs that were never announced.
    pub(crate) fn take_unannounced(&mut self) -> Vec<QueuedJob> {
        self.asked.take().into_iter().chain(self.queue.drain(..)).collect()
    }

    /// `after` is what came of the guest since, where it was lost: a good verdict does not outlive that.
    fn close_after(&mut self, after: Option<(Verdict, AttemptEnd)>, crash: Option<&Crash>) -> Option<Reported> {
        let Ended { job, findings, duration } = self.ended.take()?;
        let kernel = &self.target.kernel;
        let facts = judge::KernelFacts { version: kernel.version, config: kernel.config.as_ref() };
        let JobSpec::Scenario(spec) = &job.spec;
        judge::allow(spec, &mut self.warnings);
        let own = judge::finished(spec, facts, &findings.legs, crash, &self.warnings);
        let (verdict, end) = match after {
            Some(after) if own.class() <= Class::Skipped => after,
            _ => (own, AttemptEnd::Complete),
        };
        Some(self.report(job, verdict, *findings, duration, end))
    }

    fn report(
        &mut self,
        QueuedJob { spec, attempt }: QueuedJob,
        verdict: Verdict,
        findings: Findings,
        duration: Duration,
        end: AttemptEnd,
    ) -> Reported {
        let job = spec.job();
        let JobSpec::Scenario(spec) = spec;
        judge::allow(&spec, &mut self.warnings);
        let report = JobReport {
            target: self.target.id.clone(),
            job,
            guest: Some(self.guest),
            verdict,
            stdout: findings.stdout.text(),
            stderr: findings.stderr.text(),
            output_dropped: findings.dropped_by_guest.saturating_add(findings.stdout.dropped + findings.stderr.dropped),
            legs: findings.legs,
            warnings: std::mem::take(&mut self.warnings),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            attempt,
            attempts: None,
        };
        (Box::new(report), end)
    }
}
