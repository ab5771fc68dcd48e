//! Runs one target's jobs: starts guests, retries, and gives up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Mutex;
use vmlab_events::event::{JobReport, NotNeeded};
use vmlab_events::job::JobSpec;
use vmlab_events::schedule::{Isolation, Repetition};
use vmlab_events::verdict::Verdict;
use vmlab_qemu::accelerator::Accelerator;

use super::source::{self, Source};
use crate::attempts::AttemptEnd;
use crate::context::{Options, RunContext};
use crate::guest::{DeadFork, Guest, Origin, Outcome, QueuedJob, launch};
use crate::stop::Stop;
use crate::target::BootableTarget;
use crate::variant::Variant;
use crate::verdict;

/// The number of failed boots after which a run with repetitions gives up a kernel that never booted. With fewer, a
/// kernel that boots most of the time could be given up by chance.
const BOOTS_TRIED: u32 = 3;

/// The number of consecutive forks of one target whose QEMU was killed from outside before the first job, after which the run
/// starts guests in another way: on a host with too little memory all would be killed.
const FORKS_PASSED_OVER: u32 = 3;

/// Runs one target's jobs.
pub(super) struct TargetRunner {
    pub(super) run: Rc<RunContext>,
    pub(super) bootable: BootableTarget,
    /// The verdict of the guest that showed that the kernel does not boot; no further guest is started then.
    dead: RefCell<Option<Verdict>>,
    /// The number of guests without a hello before the first hello.
    failed_boots: Cell<u32>,
    /// Whether a guest has said hello.
    pub(super) came_up: Cell<bool>,
    /// The source of guests; None until the first guest is needed. The task that determines it has the lock meanwhile.
    source: Mutex<Option<Source>>,
    /// Forks that were started ahead while a job runs.
    standbys: RefCell<Vec<Guest>>,
    /// The number of groups of jobs without a guest.
    pub(super) waiting: Cell<usize>,
    /// Whether a boot that the host lost was tried again.
    booted_again: Cell<bool>,
    /// The number of replaced forks, whose QEMU was killed from outside, since the last guest that served.
    passed_over: Cell<u32>,
}

impl TargetRunner {
    pub(super) fn new(run: Rc<RunContext>, bootable: BootableTarget) -> Self {
        let (dead, source, standbys) = (RefCell::new(None), Mutex::new(None), RefCell::new(Vec::new()));
        let (failed_boots, came_up, waiting) = (Cell::new(0), Cell::new(false), Cell::new(0));
        let (booted_again, passed_over) = (Cell::new(false), Cell::new(0));
        Self { run, bootable, dead, failed_boots, came_up, source, standbys, waiting, booted_again, passed_over }
    }

    /// The machine of the guests.
    pub(super) fn variant(&self) -> Variant {
        self.bootable.target.variant
    }

    /// Counts one more group of jobs without a guest.
    pub(super) fn expect_guest(&self) {
        self.waiting.set(self.waiting.get() + 1);
    }

    pub(super) const fn waiting(&self) -> usize {
        self.waiting.get()
    }

    pub(super) async fn run(self: Rc<Self>, jobs: Vec<JobSpec>) {
        if self.bootable.target.machine.link {
            return self.run_in_pairs(jobs).await;
        }
        self.serve(Some(jobs.clone()), Vec::new()).await;
        // A retry always has its own guest: an earlier job in the same guest may be the cause of the failure.
        for spec in jobs {
            while let Some(attempt) = self.run.attempts.next_due(&self.bootable.target.id, &spec.job()) {
                self.expect_guest();
                self.serve(None, vec![QueuedJob { attempt, spec: spec.clone() }]).await;
            }
        }
    }

    /// Makes one attempt at each of these jobs. The attempts at the first ones get their numbers when there is a guest.
    async fn serve(&self, mut unnumbered: Option<Vec<JobSpec>>, mut jobs: Vec<QueuedJob>) {
        loop {
            // The semaphore is never closed. If it were, guests could not be limited, so none is started.
            let Options { machines, guests_at_once, .. } = self.run.options;
            let slots = machines.slots_of(self.variant(), guests_at_once);
            let Ok(_slots) = self.run.slots.acquire_many(slots).await else { return };
            let guest = match self.guest().await {
                Ok(guest) => guest,
                Err((verdict, AttemptEnd::Complete)) if self.boots_again(&verdict) => {
                    self.expect_guest();
                    continue;
                }
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
                    return self.report_all(rest, &verdict::nothing_announced(), AttemptEnd::Complete);
                }
                Outcome::Served(rest) => {
                    self.came_up.set(true);
                    self.passed_over.set(0);
                    rest
                }
                Outcome::NeverReady(verdict, rest) if self.boots_again(&verdict) => rest,
                Outcome::NeverReady(verdict, rest) if self.run.stopped().is_none() => {
                    self.boot_failed(&verdict);
                    return self.report_all(rest, &verdict, AttemptEnd::Complete);
                }
                Outcome::NeverReady(_, rest) => rest,
                Outcome::ForkFailed(dead, rest) => {
                    if !self.is_replaced(&dead) {
                        self.give_up_forks(&dead).await;
                    }
                    rest
                }
                // Only guests that are saved or dismissed have these outcomes.
                Outcome::Saved { .. } | Outcome::NotSaved(_) | Outcome::Unneeded => return,
            };
            if jobs.is_empty() {
                return;
            }
            self.expect_guest();
        }
    }

    /// Numbers the attempts. A job that is never started counts as attempt 1.
    fn numbered(&self, specs: Vec<JobSpec>, end: AttemptEnd) -> Vec<QueuedJob> {
        let number = |spec: &JobSpec| match end {
            AttemptEnd::Never => 1,
            AttemptEnd::Complete | AttemptEnd::Cut => {
                self.run.attempts.next_number(&self.bootable.target.id, &spec.job())
            }
        };
        specs.into_iter().map(|spec| QueuedJob { attempt: number(&spec), spec }).collect()
    }

    /// Whether a boot that failed before the hello is tried again; emits a notice then. Once for each target: a host that cannot
    /// run a guest loses the next one, too, and a kernel that crashes again is broken.
    pub(super) fn boots_again(&self, verdict: &Verdict) -> bool {
        let by_host = verdict.is_loss_by_host();
        if self.run.stopped().is_some()
            || !(by_host || self.may_be_the_emulators(verdict))
            || self.booted_again.replace(true)
        {
            return false;
        }
        let target = &self.bootable.target.id;
        if by_host {
            let text = format!("{target}: the host lost a guest before its hello, so vmlab boots another");
            self.run.notice_with_logged_cause(&text, &verdict.detail());
        } else {
            self.run.emitter.notice(format!(
                "{target}: the kernel crashed before its hello ({}); that may be a fault of the emulator, so vmlab boots it once \
                 more",
                verdict.detail()
            ));
        }
        true
    }

    /// Whether an early crash may come from the emulator: a wrong instruction shows as a trap. Who repeats a run wants to see each
    /// crash.
    fn may_be_the_emulators(&self, verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::KernelCrashed { kind: Some(kind), .. } if kind.is_trap())
            && self.bootable.target.machine.accelerator == Accelerator::Tcg
            && self.run.options.repetition == Repetition::Once
    }

    /// Records a failed boot, and gives up the kernel if the repetition allows no further attempt.
    pub(super) fn boot_failed(&self, verdict: &Verdict) {
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

    /// A guest for one group of jobs, or their verdict if there is no guest.
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
                // The template's files are gone, or QEMU cannot be started; a boot shows which.
                Err(why) => {
                    self.give_up_forks(&DeadFork { why: why.to_string(), refused: false, by_others: true }).await;
                    return self.launch(&Origin::Boot);
                }
            },
        };
        // At most one per slot, because a waiting guest needs memory.
        let standbys = self.standbys.borrow().len();
        if standbys < self.waiting.get().min(self.run.options.guests_at_once) {
            // Failing to start a standby is harmless: nobody waits for it, and its events show the reason.
            self.standbys.borrow_mut().extend(launch(&self.run, &self.bootable, &Origin::Fork(&template)));
        }
        Ok(guest)
    }

    /// The source of the next guest.
    pub(super) async fn source(&self) -> Result<Source, (Verdict, AttemptEnd)> {
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
        let mut source = source::source(&self.run, &self.bootable).await;
        if let Err(verdict) = &source
            && self.boots_again(verdict)
        {
            source = source::source(&self.run, &self.bootable).await;
        }
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
        launch(&self.run, &self.bootable, origin).map_err(|why| (verdict::not_started(why), AttemptEnd::Complete))
    }

    /// The verdict of all remaining jobs, if no more guests are started.
    pub(super) fn over(&self) -> Option<Verdict> {
        let stopped = || self.run.stopped().map(Stop::not_run);
        self.dead.borrow().clone().or_else(stopped).or_else(|| self.run.attempts.has_found())
    }

    /// Whether another fork replaces a failed one; emits a notice then.
    pub(super) fn is_replaced(&self, dead: &DeadFork) -> bool {
        let passed_over = self.passed_over.get();
        if !dead.by_others || passed_over == FORKS_PASSED_OVER {
            return false;
        }
        self.passed_over.set(passed_over + 1);
        let target = &self.bootable.target.id;
        let text = format!("{target}: QEMU was killed from outside before the first job; vmlab starts another fork");
        self.run.notice_with_logged_cause(&text, &dead.why);
        true
    }

    /// Restores forks from now on instead of thawing them, or boots guests instead of restoring forks.
    pub(super) async fn give_up_forks(&self, dead: &DeadFork) {
        let mut source = self.source.lock().await;
        if let Some(Source::Forks(template)) = &*source
            && template.frozen.is_some()
        {
            *source = Some(source::without_thaws(&self.run, &self.bootable, template, dead));
            drop(source);
            self.dismiss_standbys(NotNeeded::TemplateGivenUp).await;
        } else if let Some(Source::Forks(template)) = &*source {
            let instead = source::without_forks(&self.run, &self.bootable, template, dead);
            *source = Some(instead);
            source::remove_template(&self.run, &self.bootable).await;
            drop(source);
            self.dismiss_standbys(NotNeeded::TemplateGivenUp).await;
        }
    }

    /// Ends the guests that were started ahead.
    pub(super) async fn dismiss_standbys(&self, why: NotNeeded) {
        for guest in self.standbys.take() {
            guest.dismiss(&self.run, why).await;
        }
    }

    pub(super) fn report_all(&self, jobs: Vec<QueuedJob>, verdict: &Verdict, end: AttemptEnd) {
        for QueuedJob { spec, attempt } in jobs {
            let report = JobReport::without_guest(self.bootable.target.id.clone(), spec.job(), verdict.clone());
            self.run.attempt_ended(JobReport { attempt, ..report }, end);
        }
    }
}
