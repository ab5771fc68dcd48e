//! Order and concurrency: every kernel's scenarios in guests, no more guests at once than there are slots, and exactly
//! one report for every scenario on every kernel, whatever happens.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Mutex;
use tokio::task::{JoinSet, LocalSet};
use vmlab_protocol::catalogue::ScenarioSpec;

use super::attempts::Came;
use super::executor::{GuestRun, run_guest};
use super::lab::{Lab, Prepared, Stop};
use super::launch::{Guest, Origin, launch};
use super::templates::{self, DeadFork, Source};
use crate::verdict;
use vmlab_events::event::{JobReport, NotNeeded};
use vmlab_events::job::Job;
use vmlab_events::schedule::{Isolation, Repetition};
use vmlab_events::verdict::Verdict;

/// Runs the scenarios on each kernel, as often as is wanted; returns when each has its report.
pub async fn run(lab: &Rc<Lab>, kernels: Vec<Prepared>, scenarios: &[ScenarioSpec]) {
    let labels: Vec<_> = kernels.iter().map(|prepared| prepared.target.clone()).collect();
    lab.book.open(&labels, scenarios);
    let columns: Vec<_> = kernels.into_iter().map(|prepared| Rc::new(Column::new(Rc::clone(lab), prepared))).collect();
    LocalSet::new().run_until(run_rounds(lab, &columns, scenarios)).await;
    for column in &columns {
        column.dismiss_spares(NotNeeded::NoMoreWork).await;
    }
    lab.book.close(lab.stopped()).into_iter().for_each(|event| lab.emitter.emit(event));
}

/// Round after round, of which the next begins when there is nobody left to wait for a guest of those before.
async fn run_rounds(lab: &Lab, columns: &[Rc<Column>], scenarios: &[ScenarioSpec]) {
    let batches = lab.options.isolation.by_guest(scenarios);
    let mut tasks = JoinSet::new();
    let mut rounds = 0..lab.options.repetition.rounds();
    loop {
        // What is known to come to nothing is reported once, in the first round, and not again in each.
        let alive = || columns.iter().filter(|column| rounds.start == 0 || column.over().is_none());
        let waiting: usize = columns.iter().map(|column| column.waiting.get()).sum();
        if waiting < lab.options.guests_at_once && alive().next().is_some() && !rounds.is_empty() {
            for (column, batch) in alive().flat_map(|column| batches.iter().map(move |batch| (column, batch))) {
                column.expect_guest();
                tasks.spawn_local(Rc::clone(column).run(batch.clone()));
            }
            rounds.next();
            continue;
        }
        match tasks.join_next().await {
            Some(Ok(())) => {}
            // A task that panicked has lost reports; the panic's own message is on standard error, and what was lost is
            // reported as not run.
            Some(Err(error)) => lab.emitter.notice(format!("a fault in vmlab itself: {error}")),
            None => return,
        }
    }
}

/// Failed boots in a row, of a kernel that never came up, after which it is given up where it is to be found out how
/// often something fails: fewer, and a kernel that seldom fails to boot would be lost by chance.
const BOOTS_TRIED: u32 = 3;

/// Forks of one kernel that were ended from outside before they came to life, after which there are no more in this run:
/// on a host that is short of memory all would end so.
const FORKS_PASSED_OVER: u32 = 3;

/// One kernel's scenarios.
struct Column {
    lab: Rc<Lab>,
    prepared: Prepared,
    /// The kernel does not get as far as the hello: what came of the guest that showed it. It is not tried again.
    dead: RefCell<Option<Verdict>>,
    /// Guests that never said hello, until the first that did.
    failed_boots: Cell<u32>,
    /// A guest has said hello.
    came_up: Cell<bool>,
    /// Where its guests come from; None until the first is needed. Whoever finds out holds the lock meanwhile.
    source: Mutex<Option<Source>>,
    /// Forks that wait for work: while a scenario runs, the next guest is made ready.
    spare: RefCell<Vec<Guest>>,
    /// Batches that have no guest yet.
    waiting: Cell<usize>,
    /// Forks that were ended from outside.
    passed_over: Cell<u32>,
}

impl Column {
    fn new(lab: Rc<Lab>, prepared: Prepared) -> Self {
        let (dead, source, spare) = (RefCell::new(None), Mutex::new(None), RefCell::new(Vec::new()));
        let (failed_boots, came_up, waiting) = (Cell::new(0), Cell::new(false), Cell::new(0));
        let passed_over = Cell::new(0);
        Self { lab, prepared, dead, failed_boots, came_up, source, spare, waiting, passed_over }
    }

    /// There is a batch more that has no guest yet.
    fn expect_guest(&self) {
        self.waiting.set(self.waiting.get() + 1);
    }

    async fn run(self: Rc<Self>, batch: Vec<ScenarioSpec>) {
        self.serve(batch.clone()).await;
        // A retry has a guest for itself, in whatever isolation: what ran before it in a shared one may be why it failed.
        for spec in batch {
            while self.lab.book.is_due(&self.prepared.target, &Job::Scenario(spec.id.clone())) {
                self.expect_guest();
                self.serve(vec![spec.clone()]).await;
            }
        }
    }

    /// Makes one attempt at each of a batch.
    async fn serve(&self, batch: Vec<ScenarioSpec>) {
        let mut batch = batch;
        loop {
            // The semaphore is never closed; were it, nothing would keep the guests apart, and none is started.
            let Ok(_slot) = self.lab.slots.acquire().await else { return };
            let guest = match self.guest().await {
                Ok(guest) => guest,
                Err((verdict, came)) => return self.report_all(batch, &verdict, came),
            };
            let before = batch.len();
            batch = match run_guest(&self.lab, &self.prepared, guest, batch).await {
                GuestRun::Served(rest) if rest.len() == before && self.lab.stopped().is_none() => {
                    return self.report_all(rest, &verdict::nothing_announced(), Came::Made);
                }
                GuestRun::Served(rest) => {
                    self.came_up.set(true);
                    rest
                }
                GuestRun::NeverReady(verdict, rest) if self.lab.stopped().is_none() => {
                    self.boot_failed(&verdict);
                    return self.report_all(rest, &verdict, Came::Made);
                }
                GuestRun::NeverReady(_, rest) => rest,
                GuestRun::ForkFailed(dead, rest) => {
                    if !self.passes_over(&dead) {
                        self.give_up_forks(&dead).await;
                    }
                    rest
                }
            };
            if batch.is_empty() {
                return;
            }
            self.expect_guest();
        }
    }

    /// A guest did not come up. Whether the next one is tried depends on what is wanted, and on those before.
    fn boot_failed(&self, verdict: &Verdict) {
        self.failed_boots.set(self.failed_boots.get() + 1);
        let enough = match self.lab.options.repetition {
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

    /// A guest for one batch, or what its scenarios come to without one.
    async fn guest(&self) -> Result<Guest, (Verdict, Came)> {
        let source = self.source().await;
        self.waiting.set(self.waiting.get().saturating_sub(1));
        let template = match source? {
            Source::ColdBoots => return self.launch(&Origin::Boot),
            Source::Forks(template) => template,
        };
        let spare = self.spare.borrow_mut().pop();
        let guest = match spare {
            Some(guest) => guest,
            None => match launch(&self.lab, &self.prepared, &Origin::Fork(&template)) {
                Ok(guest) => guest,
                // Its files are gone, or no QEMU can be had; the boot tells which.
                Err(why) => {
                    self.give_up_forks(&DeadFork { why: why.to_string(), refused: false, by_others: false }).await;
                    return self.launch(&Origin::Boot);
                }
            },
        };
        // Not more than one for each slot: a guest that waits costs memory.
        let spares = self.spare.borrow().len();
        if spares < self.waiting.get().min(self.lab.options.guests_at_once) {
            // One that cannot be had is missed by nobody yet, and its events tell why.
            self.spare.borrow_mut().extend(self.launch(&Origin::Fork(&template)));
        }
        Ok(guest)
    }

    /// Where the next guest comes from.
    async fn source(&self) -> Result<Source, (Verdict, Came)> {
        let mut known = self.source.lock().await;
        if let Some(verdict) = self.over() {
            return Err((verdict, Came::Never));
        }
        if self.lab.options.isolation != Isolation::Fork {
            return Ok(Source::ColdBoots);
        }
        if let Some(source) = &*known {
            return Ok(source.clone());
        }
        let source = templates::source(&self.lab, &self.prepared).await;
        if let Some(verdict) = self.over() {
            return Err((verdict, Came::Never));
        }
        let source = source.map_err(|verdict| {
            self.boot_failed(&verdict);
            (verdict, Came::Made)
        })?;
        self.came_up.set(matches!(source, Source::Forks(_)));
        Ok(known.insert(source).clone())
    }

    fn launch(&self, origin: &Origin<'_>) -> Result<Guest, (Verdict, Came)> {
        launch(&self.lab, &self.prepared, origin).map_err(|why| (verdict::not_started(why), Came::Made))
    }

    /// The verdict on all that is left, where nothing more is to be started.
    fn over(&self) -> Option<Verdict> {
        let stopped = || self.lab.stopped().map(Stop::not_run);
        self.dead.borrow().clone().or_else(stopped).or_else(|| self.lab.book.has_found())
    }

    /// Whether a dead fork is no reason to give up forks: another one is made. Says so.
    fn passes_over(&self, dead: &DeadFork) -> bool {
        let passed_over = self.passed_over.get();
        if !dead.by_others || passed_over == FORKS_PASSED_OVER {
            return false;
        }
        self.passed_over.set(passed_over + 1);
        let label = &self.prepared.target;
        self.lab.emitter.notice(format!("{label}: another fork is made, as one did not come to life: {}", dead.why));
        true
    }

    /// From here on guests are booted; said and done once.
    async fn give_up_forks(&self, dead: &DeadFork) {
        let mut source = self.source.lock().await;
        if let Some(Source::Forks(template)) = &*source {
            let instead = templates::without_forks(&self.lab, &self.prepared, template, dead);
            *source = Some(instead);
            templates::take_away(&self.lab, &self.prepared).await;
            drop(source);
            self.dismiss_spares(NotNeeded::TemplateGivenUp).await;
        }
    }

    /// Ends the guests that were started ahead.
    async fn dismiss_spares(&self, why: NotNeeded) {
        for guest in self.spare.take() {
            guest.dismiss(&self.lab, why).await;
        }
    }

    fn report_all(&self, scenarios: Vec<ScenarioSpec>, verdict: &Verdict, came: Came) {
        for spec in scenarios {
            let (target, job) = (self.prepared.target.clone(), Job::Scenario(spec.id));
            let attempt = if came == Came::Made { self.lab.book.number(&target, &job) } else { 1 };
            let report = JobReport::without_guest(target, job, verdict.clone());
            self.lab.came(JobReport { attempt, ..report }, came);
        }
    }
}
