//! The progress of a guest's jobs; each announced job gets exactly one report. Pure.

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
use crate::verdict::suite::SuiteResults;

/// A job that waits for a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueuedJob {
    pub(crate) spec: JobSpec,
    /// The number of this attempt at the job, from 1.
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
    /// The job that was asked for and not announced yet.
    asked: Option<QueuedJob>,
    /// The job that was announced and has not ended yet.
    running: Option<Running>,
    /// The job that has ended and is not reported yet: the console up to the next marker still belongs to it.
    ended: Option<Ended>,
    /// The kernel's warnings that belong to the next report.
    warnings: Vec<Finding>,
    /// The kernel's warnings during KUnit suites that it ran at boot; each belongs to the report on its suite.
    suite_warnings: Vec<Finding>,
    /// Whether a job was cut short, so that its changes may remain and the other jobs need another guest.
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
    pub(crate) fn new(target: Rc<Target>, guest: u32, suite_warnings: Vec<Finding>) -> Self {
        let (queue, asked, running, ended, warnings) = (VecDeque::new(), None, None, None, Vec::new());
        Self { target, guest, queue, asked, running, ended, warnings, suite_warnings, spoiled: false }
    }

    /// Keeps the warnings of the boot that came during a KUnit suite.
    pub(crate) fn warned_at_boot(&mut self, warnings: Vec<Finding>) {
        self.suite_warnings.extend(warnings.into_iter().filter(|warning| warning.suite.is_some()));
    }

    /// Takes the warnings of KUnit suites at boot, for the forks of this guest.
    pub(crate) fn take_suite_warnings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.suite_warnings)
    }

    /// Adds the warnings of the suite's run at boot to its report.
    fn add_suite_warnings(&mut self, spec: &JobSpec) {
        if let JobSpec::Kunit(suite) = spec {
            let is_its = |warning: &mut Finding| warning.suite.as_deref() == Some(suite.suite());
            let at_boot: Vec<_> = self.suite_warnings.extract_if(.., is_its).collect();
            self.warnings.splice(0..0, at_boot);
        }
    }

    /// Adds jobs to the queue.
    pub(crate) fn add(&mut self, jobs: Vec<QueuedJob>) {
        self.queue.extend(jobs);
    }

    /// The job to ask for next. None if no job is left for this guest.
    pub(crate) fn ask_next(&mut self) -> Option<&QueuedJob> {
        self.asked = if self.spoiled { None } else { self.queue.pop_front() };
        self.asked.as_ref()
    }

    /// Whether a job has ended and its report still waits for the console.
    pub(crate) const fn has_open_report(&self) -> bool {
        self.ended.is_some()
    }

    /// Records the announcement of the job that was asked for.
    pub(crate) fn started(&mut self, now: Instant) -> Option<&QueuedJob> {
        let job = self.asked.take()?;
        Some(&self.running.insert(Running { job, began: now }).job)
    }

    /// Records the end of the job; `spoiled` says that other jobs need another guest.
    pub(crate) fn finished(&mut self, findings: Box<Findings>, spoiled: bool, now: Instant) {
        self.spoiled |= spoiled;
        self.ended = self.running.take().map(|Running { job, began }| {
            let duration = now.saturating_duration_since(began);
            Ended { job, findings, duration }
        });
    }

    /// Adds warnings to the next report.
    pub(crate) fn warn(&mut self, warnings: Vec<Finding>) {
        self.warnings.extend(warnings);
    }

    /// The report on the ended job. None if no job has ended.
    pub(crate) fn close(&mut self, crash: Option<&Crash>) -> Option<Reported> {
        self.close_after(None, crash)
    }

    /// Reports the loss of the guest after its hello. The console has been read to the end, and its warnings were
    /// added. `crash` is the console's crash; `open` says that the console may be incomplete.
    ///
    /// The loss is charged to the running job. If no job runs, it is charged to the job that ended last; without such a
    /// job, to the job that was asked for, so that a guest that always dies there is not started without end. If the
    /// run ended rather than the guest (`by_run`), the loss is charged only to a running job.
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
            // A crash counts even if the run ends at this moment.
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

    /// The job to which a loss would be charged now.
    pub(crate) fn in_flight(&self) -> Option<Job> {
        let running = self.running.as_ref().map(|running| &running.job);
        let ended = self.ended.as_ref().map(|ended| &ended.job);
        running.or(ended).or(self.asked.as_ref()).map(|job| job.spec.job())
    }

    /// Takes the jobs that were never announced.
    pub(crate) fn take_unannounced(&mut self) -> Vec<QueuedJob> {
        self.asked.take().into_iter().chain(self.queue.drain(..)).collect()
    }

    /// The report on the ended job. `after` is the verdict of a later loss of the guest, which replaces a good verdict.
    fn close_after(&mut self, after: Option<(Verdict, AttemptEnd)>, crash: Option<&Crash>) -> Option<Reported> {
        let Ended { job, findings, duration } = self.ended.take()?;
        self.add_suite_warnings(&job.spec);
        judge::allow(&job.spec, &mut self.warnings);
        let Target { kernel, append, .. } = &*self.target;
        let (version, config, append) = (kernel.version, kernel.config.as_ref(), append.as_deref());
        let suites = kernel.suites.as_deref();
        let facts = judge::KernelFacts { version, config, append, suites };
        let own =
            judge::finished(&job.spec, facts, &findings.legs, &results(&job.spec, &findings), crash, &self.warnings);
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
        self.add_suite_warnings(&spec);
        judge::allow(&spec, &mut self.warnings);
        let report = JobReport {
            target: self.target.id.clone(),
            job: spec.job(),
            guest: Some(self.guest),
            verdict,
            tests: results(&spec, &findings).tests,
            stdout: findings.stdout.text(),
            stderr: findings.stderr.text(),
            output_dropped: findings.dropped.saturating_add(findings.stdout.dropped + findings.stderr.dropped),
            legs: findings.legs,
            warnings: std::mem::take(&mut self.warnings),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            attempt,
            attempts: None,
            peer: None,
        };
        (Box::new(report), end)
    }
}

/// The results of a KUnit suite; none of another job.
fn results(spec: &JobSpec, findings: &Findings) -> SuiteResults {
    match spec {
        JobSpec::Kunit(suite) => SuiteResults::read(suite, &findings.results, findings.dropped),
        JobSpec::Scenario(_) | JobSpec::Command(_) => SuiteResults::default(),
    }
}
