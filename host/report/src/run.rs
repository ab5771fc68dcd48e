//! The state of a run after some of its events: what every reporter but JSON works on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::timings::Timings;
use vmlab_events::attempts::Attempts;
use vmlab_events::event::{Counts, JobReport, LabEvent, Stamped};
use vmlab_events::job::JobSpec;
use vmlab_events::loss::LossReport;
use vmlab_events::schedule::Repetition;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::{Class, Verdict};

/// What the events so far say.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// The record's name.
    pub run_id: String,
    /// vmlab's version.
    pub vmlab_version: String,
    /// Wall clock at the start, ms since 1970 UTC.
    pub started_at_unix_ms: u64,
    /// `fork`, `shared` or `boot`.
    pub isolation: String,
    /// How often each scenario was to run.
    pub repetition: Repetition,
    /// In the order asked for.
    pub targets: Vec<TargetRun>,
    /// Sorted by name.
    pub jobs: Vec<JobSpec>,
    /// What the user should know, in order.
    pub notices: Vec<String>,
    /// The console's file within the record, by guest.
    pub consoles: BTreeMap<u32, String>,
    /// What is known of the guests that were lost, in order.
    pub losses: Vec<LossReport>,
    /// Where the time went: the guests' by their kind of start, and the run's own.
    pub timings: Timings,
    /// The user interrupted it.
    pub interrupted: bool,
    /// From the run's start to its last event.
    pub elapsed_ms: u64,
}

/// One target's part.
#[derive(Debug, Clone)]
pub struct TargetRun {
    /// Its name.
    pub id: TargetId,
    /// `uname -r`; empty until it is known.
    pub release: String,
    /// What was run, by name, for the record: hashes and the like.
    pub properties: Vec<(&'static str, String)>,
    /// By the index of the scenario.
    reports: Vec<Option<JobReport>>,
    /// The attempts at each that were reported so far, by the index of the scenario.
    attempts: Vec<Attempts>,
}

impl TargetRun {
    /// Whether every scenario has its final verdict.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.reports.iter().all(Option::is_some)
    }

    /// How many scenarios have their final verdict.
    #[must_use]
    pub fn finished(&self) -> usize {
        self.reports.iter().flatten().count()
    }

    /// How many attempts were reported so far, and how many of those failed.
    #[must_use]
    pub fn attempted(&self) -> (u64, u64) {
        let sum = |of: fn(&Attempts) -> u32| self.attempts.iter().map(|attempts| u64::from(of(attempts))).sum();
        (sum(|attempts| attempts.runs), sum(|attempts| attempts.failures))
    }
}

/// An event that does not fit those before it. It is left out; the state before it stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the events contradict each other, which is a fault of vmlab or of the record: {0}")]
pub struct Contradiction(String);

impl Run {
    /// Takes in one more event.
    ///
    /// # Errors
    /// [`Contradiction`] where it is about something that was never announced, or is a second final verdict.
    pub fn apply(&mut self, stamped: &Stamped) -> Result<(), Contradiction> {
        self.elapsed_ms = self.elapsed_ms.max(stamped.elapsed_ms);
        match &stamped.event {
            LabEvent::RunStarted {
                run_id,
                vmlab_version,
                started_at_unix_ms,
                targets,
                jobs,
                isolation,
                repetition,
                ..
            } => {
                let target = |id: &TargetId| TargetRun {
                    id: id.clone(),
                    release: String::new(),
                    properties: Vec::new(),
                    reports: vec![None; jobs.len()],
                    attempts: vec![Attempts::default(); jobs.len()],
                };
                self.targets = targets.iter().map(target).collect();
                self.run_id.clone_from(run_id);
                self.vmlab_version.clone_from(vmlab_version);
                self.started_at_unix_ms = *started_at_unix_ms;
                self.jobs.clone_from(jobs);
                self.isolation.clone_from(isolation);
                self.repetition = *repetition;
            }
            LabEvent::Notice { text } => self.notices.push(text.clone()),
            LabEvent::KernelReady { target, release, kernel_sha256, config_sha256, image_sha256, .. } => {
                let target = self.target(target)?;
                target.release.clone_from(release);
                target.properties.push(("kernel.release", release.clone()));
                target.properties.push(("kernel.sha256", kernel_sha256.clone()));
                target.properties.extend(config_sha256.iter().map(|hash| ("config.sha256", hash.clone())));
                target.properties.push(("image.sha256", image_sha256.clone()));
            }
            LabEvent::GuestStarting { guest, target, accelerator, console, .. } => {
                let target = self.target(target)?;
                if !target.properties.iter().any(|(name, _)| *name == "accelerator") {
                    target.properties.push(("accelerator", accelerator.clone()));
                }
                self.consoles.insert(*guest, console.clone());
            }
            LabEvent::JobAttempted(report) => {
                let (target, index) = self.entry(report)?;
                target.attempts[index].add(report.in_short());
            }
            LabEvent::JobFinished(report) => {
                let (target, index) = self.entry(report)?;
                target.reports[index] = Some((**report).clone());
            }
            LabEvent::GuestLost(loss) => self.losses.push((**loss).clone()),
            LabEvent::GuestTimings { start, phases, .. } => self.timings.add(start, phases),
            LabEvent::RunTimings { phases } => self.timings.add("run", phases),
            LabEvent::Interrupted => self.interrupted = true,
            LabEvent::GuestReady { .. }
            | LabEvent::JobStarted { .. }
            | LabEvent::GuestEnded { .. }
            | LabEvent::RunFinished { .. } => {}
        }
        Ok(())
    }

    fn target(&mut self, id: &TargetId) -> Result<&mut TargetRun, Contradiction> {
        self.targets
            .iter_mut()
            .find(|target| target.id == *id)
            .ok_or_else(|| Contradiction(format!("the target {id} was never announced")))
    }

    /// The target and the index of a scenario that has no final verdict yet.
    fn entry(&mut self, report: &JobReport) -> Result<(&mut TargetRun, usize), Contradiction> {
        let (target, job) = (&report.target, &report.job);
        let index = self
            .jobs
            .iter()
            .position(|spec| spec.is(job))
            .ok_or_else(|| Contradiction(format!("the job {job} was never announced")))?;
        let known = self.target(target)?;
        if known.reports[index].is_some() {
            return Err(Contradiction(format!("{job} on {target} ended twice")));
        }
        Ok((known, index))
    }

    /// The final report on a scenario, by the indexes of target and scenario; [`Verdict::missing`] where the events have
    /// none.
    #[must_use]
    pub fn report(&self, kernel: usize, scenario: usize) -> Cow<'_, JobReport> {
        match &self.targets[kernel].reports[scenario] {
            Some(report) => Cow::Borrowed(report),
            None => Cow::Owned(self.missing(kernel, scenario)),
        }
    }

    fn missing(&self, kernel: usize, scenario: usize) -> JobReport {
        let (known, verdict) = (&self.targets[kernel], Verdict::missing(self.interrupted));
        let report = JobReport::without_guest(known.id.clone(), self.jobs[scenario].job(), verdict);
        let attempts = Some(known.attempts[scenario].clone()).filter(|attempts| attempts.runs > 0);
        JobReport { attempts, ..report }
    }

    /// How many attempts were reported so far on all targets, and how many of those failed.
    #[must_use]
    pub fn attempted(&self) -> (u64, u64) {
        let all = self.targets.iter().map(TargetRun::attempted);
        all.fold((0, 0), |(runs, failures), (more, failed)| (runs + more, failures + failed))
    }

    /// The loss of the guest that a report is about, where the guest was lost and the report is not good. A report without a
    /// guest, on a target that does not come up, is about the guest that did not come up.
    #[must_use]
    pub fn loss(&self, report: &JobReport) -> Option<&LossReport> {
        if !matches!(report.verdict.class(), Class::Flaky | Class::TimedOut | Class::Crashed | Class::Lab) {
            return None;
        }
        self.losses.iter().find(|loss| match report.guest {
            Some(guest) => loss.guest == guest && loss.job.as_ref().is_none_or(|job| *job == report.job),
            None => loss.target == report.target && loss.job.is_none(),
        })
    }

    /// The final reports on one target, by scenario.
    pub fn reports(&self, kernel: usize) -> impl Iterator<Item = (usize, Cow<'_, JobReport>)> {
        (0..self.jobs.len()).map(move |scenario| (scenario, self.report(kernel, scenario)))
    }

    /// How many scenarios ended how.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for kernel in 0..self.targets.len() {
            self.reports(kernel).for_each(|(_, report)| counts.add(report.verdict.class()));
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::fixture;

    #[test]
    fn a_whole_run_has_the_counts_that_it_says() {
        let mut run = Run::default();
        for event in fixture::run() {
            assert_eq!(run.apply(&event), Ok(()));
        }
        assert_eq!(run.counts(), fixture::counts());
        assert!(run.targets.iter().all(TargetRun::is_complete));
    }

    #[test]
    fn a_job_without_a_verdict_was_not_run() {
        let mut run = Run::default();
        let events = fixture::run();
        run.apply(&events[0]).unwrap();
        assert_eq!(run.counts().not_run, fixture::counts().total());
        assert_eq!(run.report(0, 0).verdict, Verdict::missing(false));
        run.apply(&Stamped { elapsed_ms: 9, event: LabEvent::Interrupted }).unwrap();
        assert_eq!(run.report(0, 0).verdict, Verdict::missing(true));
    }

    #[test]
    fn contradictions_are_errors_and_change_nothing() {
        let mut run = Run::default();
        let events = fixture::run();
        events.iter().for_each(|event| run.apply(event).unwrap());
        let twice = events.iter().find(|event| matches!(event.event, LabEvent::JobFinished(_))).unwrap();
        assert!(run.apply(twice).unwrap_err().to_string().contains("ended twice"));
        let mut unknown = events[2].clone();
        let LabEvent::KernelReady { target, .. } = &mut unknown.event else { panic!("{unknown:?}") };
        *target = TargetId::new("debian:potato");
        assert!(run.apply(&unknown).unwrap_err().to_string().contains("debian:potato was never announced"));
        assert_eq!(run.counts(), fixture::counts());
    }
}
