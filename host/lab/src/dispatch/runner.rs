//! One target's jobs: a guest for each, retries, and when to give up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Mutex;
use vmlab_events::event::JobReport;
use vmlab_events::job::JobSpec;
use vmlab_events::schedule::{Isolation, Repetition};
use vmlab_events::verdict::Verdict;

use super::source::{self, Source};
use crate::attempts::AttemptEnd;
use crate::context::RunContext;
use crate::guest::{DeadFork, Guest, Origin, Outcome, QueuedJob, launch};
use crate::stop::Stop;
use crate::target::BootableTarget;

/// Failed boots in a row, of a kernel that never came up, after which it is given up where the failure rate is measured:
/// with fewer, a kernel that seldom fails to boot would be lost by chance.
const BOOTS_TRIED: u32 = 3;

/// Forks of one target that were ended from outside before they came to life, after which no more forks are made in this
/// run: on a host that is short of memory all would end so.
const FORKS_PASSED_OVER: u32 = 3;

/// Runs one target's jobs.
pub(super) struct TargetRunner {
    run: Rc<RunContext>,
    bootable: BootableTarget,
    /// The kernel does not get as far as the hello: the verdict on the guest that showed it. It is not tried again.
    dead: RefCell<Option<Verdict>>,
    /// Guests that never said hello, until the first that did.
    failed_boots: Cell<u32>,
    /// A guest has said hello.
    came_up: Cell<bool>,
    /// Where guests come from; None until the first is needed. The task that finds out holds the lock meanwhile.
    source: Mutex<Option<Source>>,
    /// Forks that wait for work: while a job runs, the next guest is made ready.
    standbys: RefCell<Vec<Guest>>,
    /// Groups of jobs that have no guest yet.
    waiting: Cell<usize>,
    /// Forks that were ended from outside.
    passed_over: Cell<u32>,
}

impl TargetRunner {
    pub(super) fn new(run: Rc<RunContext>, bootable: BootableTarget) -> Self {
        let (dead, source, standbys) = (RefCell::new(None), Mutex::new(None), RefCell::new(Vec::new()));
        let (failed_boots, came_up, waiting) = (Cell::new(0), Cell::new(false), Cell::new(0));
        let passed_over = Cell::new(0);
        Self { run, bootable, dead, failed_boots, came_up, source, standbys, waiting, passed_over }
    }

    /// One more group of jobs has no guest yet.
    pub(super) fn expect_guest(&self) {
        self.waiting.set(self.waiting.get() + 1);
    }

    pub(super) const fn waiting(&self) -> usize {
        self.waiting.get()
    }

    pub(super) async fn run(self: Rc<Self>, jobs: Vec<JobSpec>) {
        self.serve(jobs.clone()).await;
        // A retry has a guest for itself, in whatever isolation: a job that ran before it may be why it failed.
        for spec in jobs {
            while self.run.attempts.is_due(&self.bootable.target.id, &spec.job()) {
                self.expect_guest();
                self.serve(vec![spec.clone()]).await;
            }
        }
    }

    /// Makes one attempt at each of these jobs.
    async fn serve(&self, specs: Vec<JobSpec>) {
        let mut unnumbered = Some(specs);
        let mut jobs = Vec::new();
        loop {
            // The semaphore is never closed. If it were, guests could not be limited, so none is started.
            let Ok(_slot) = self.run.slots.acquire().await else { return };
            let guest = match self.guest().await {
                Ok(guest) => guest,
                Err((verdict, end)) => {
                    let jobs = unnumbered.map_or(jobs, |specs| self.numbered(specs, end));
                    return self.report_all(jobs, &verdict, end);
                }
            };
            if let Some(specs) = unnumbered.take() {
                jobs = self.numbered(specs, AttemptEnd::Complete);
            }
            let before = jobs.len();
            jobs = match guest.run(&self.run, jobs).await {
                Outcome::Served(rest) if rest.len() == before && self.run.stopped().is_none() => {
                    let detail = "the guest was lost before it announced anything".to_owned();
                    return self.report_all(rest, &Verdict::GuestVanished { detail }, AttemptEnd::Complete);
                }
                Outcome::Served(rest) => {
                    self.came_up.set(true);
                    rest
                }
                Outcome::NeverReady(verdict, rest) if self.run.stopped().is_none() => {
                    self.boot_failed(&verdict);
                    return self.report_all(rest, &verdict, AttemptEnd::Complete);
                }
                Outcome::NeverReady(_, rest) => rest,
                Outcome::ForkFailed(dead, rest) => {
                    if !self.passes_over(&dead) {
                        self.give_up_forks(&dead).await;
                    }
                    rest
                }
                // Only guests that are saved or dismissed end so.
                Outcome::Saved { .. } | Outcome::NotSaved(_) | Outcome::Unneeded => return,
            };
            if jobs.is_empty() {
                return;
            }
            self.expect_guest();
        }
    }

    /// A job that is never tried counts as attempt 1.
    fn numbered(&self, specs: Vec<JobSpec>, end: AttemptEnd) -> Vec<QueuedJob> {
        let number = |spec: &JobSpec| match end {
            AttemptEnd::Never => 1,
            AttemptEnd::Complete | AttemptEnd::Cut => {
                self.run.attempts.next_number(&self.bootable.target.id, &spec.job())
            }
        };
        specs.into_iter().map(|spec| QueuedJob { attempt: number(&spec), spec }).collect()
    }

    /// A guest did not come up. Whether the next one is tried depends on the repetition, and on the guests before.
    fn boot_failed(&self, verdict: &Verdict) {
        self.failed_boots.set(self.failed_boots.get() + 1);
        let enough = match self.run.options.repetition {
            Repetition::Once => true,
            Repetition::Retries { at_most } => !self.came_up.get() && self.failed_boots.get() > at_most,
            Repetition::Runs { .. } | Repetition::UntilFailure { .. } => {
                !self.came_up.get() && self.failed_boots.get() >= BOOTS_TRIED
            }
        };
        if enough {
            self.dead.replace(Some(verdict.clone()));
        }
    }

    /// A guest for one group of jobs, or their verdict where there is none.
    async fn guest(&self) -> Result<Guest, (Verdict, AttemptEnd)> {
        let source = self.source().await;
        self.waiting.set(self.waiting.get().saturating_sub(1));
        let template = match source? {
            Source::ColdBoots => return self.launch(&Origin::Boot),
            Source::Forks(template) => template,
        };
        let standby = self.standbys.borrow_mut().pop();
        let guest = match standby {
            Some(guest) => guest,
            None => match launch(&self.run, &self.bootable, &Origin::Fork(&template)) {
                Ok(guest) => guest,
                // The template's files are gone, or no QEMU can be had; a boot tells which.
                Err(why) => {
                    self.give_up_forks(&DeadFork { why, refused: false, by_others: false }).await;
                    return self.launch(&Origin::Boot);
                }
            },
        };
        // No more than one for each slot: a guest that waits costs memory.
        let standbys = self.standbys.borrow().len();
        if standbys < self.waiting.get().min(self.run.options.guests_at_once) {
            // Failing to start a standby is harmless: nobody waits for it, and its events tell why.
            self.standbys.borrow_mut().extend(launch(&self.run, &self.bootable, &Origin::Fork(&template)));
        }
        Ok(guest)
    }

    /// Where the next guest comes from.
    async fn source(&self) -> Result<Source, (Verdict, AttemptEnd)> {
        let mut known = self.source.lock().await;
        if let Some(verdict) = self.over() {
            return Err((verdict, AttemptEnd::Never));
        }
        if self.run.options.isolation != Isolation::Fork {
            return Ok(Source::ColdBoots);
        }
        if let Some(source) = &*known {
            return Ok(source.clone());
        }
        let source = source::source(&self.run, &self.bootable).await;
        if let Some(verdict) = self.over() {
            return Err((verdict, AttemptEnd::Never));
        }
        let source = source.map_err(|verdict| {
            self.boot_failed(&verdict);
            (verdict, AttemptEnd::Complete)
        })?;
        self.came_up.set(matches!(source, Source::Forks(_)));
        Ok(known.insert(source).clone())
    }

    fn launch(&self, origin: &Origin<'_>) -> Result<Guest, (Verdict, AttemptEnd)> {
        launch(&self.run, &self.bootable, origin)
            .map_err(|detail| (Verdict::LaunchFailed { detail }, AttemptEnd::Complete))
    }

    /// The verdict on all jobs that are left, where no more guests are to be started.
    pub(super) fn over(&self) -> Option<Verdict> {
        let found = || {
            let what = self.run.attempts.has_found()?;
            Some(Verdict::NotRun { reason: format!("{what}, which ended the run") })
        };
        self.dead.borrow().clone().or_else(|| self.run.stopped().map(Stop::not_run)).or_else(found)
    }

    /// Whether a dead fork is no reason to give up forks, so that another fork is made. Says so.
    fn passes_over(&self, dead: &DeadFork) -> bool {
        let passed_over = self.passed_over.get();
        if !dead.by_others || passed_over == FORKS_PASSED_OVER {
            return false;
        }
        self.passed_over.set(passed_over + 1);
        let target = &self.bootable.target.id;
        self.run.emitter.notice(format!("{target}: another fork is made, as one did not come to life: {}", dead.why));
        true
    }

    /// From here on guests are booted; said and done once.
    async fn give_up_forks(&self, dead: &DeadFork) {
        let mut source = self.source.lock().await;
        if let Some(Source::Forks(template)) = &*source {
            let instead = source::without_forks(&self.run, &self.bootable, template, dead);
            *source = Some(instead);
            source::take_away(&self.run, &self.bootable).await;
            drop(source);
            self.dismiss_standbys("it is a fork of a template that was given up").await;
        }
    }

    /// Ends the guests that were started ahead.
    pub(super) async fn dismiss_standbys(&self, why: &'static str) {
        for guest in self.standbys.take() {
            guest.dismiss(&self.run, why).await;
        }
    }

    fn report_all(&self, jobs: Vec<QueuedJob>, verdict: &Verdict, end: AttemptEnd) {
        for QueuedJob { spec, attempt } in jobs {
            let report = JobReport::without_guest(self.bootable.target.id.clone(), spec.job(), verdict.clone());
            self.run.attempt_ended(JobReport { attempt, ..report }, end);
        }
    }
}
