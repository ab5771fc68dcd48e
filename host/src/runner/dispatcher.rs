//! Order and concurrency: every kernel's scenarios in guests, no more guests at once than there are slots, and exactly
//! one report for every scenario on every kernel, whatever happens.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Mutex;
use tokio::task::{JoinSet, LocalSet};
use vmlab_protocol::catalogue::ScenarioSpec;

use super::executor::{GuestRun, run_guest};
use super::lab::{Lab, Prepared, Stop};
use super::launch::{Guest, Origin, launch};
use super::templates::{self, Source};
use crate::event::{LabEvent, ScenarioReport};
use crate::plan::Isolation;
use crate::verdict::Verdict;

/// Runs the scenarios on each kernel; returns when each has its report.
pub async fn run(lab: &Rc<Lab>, kernels: Vec<Prepared>, scenarios: &[ScenarioSpec]) {
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut tasks = JoinSet::new();
            for prepared in kernels {
                let batches = lab.options.isolation.batches(scenarios);
                let column = Rc::new(Column::new(Rc::clone(lab), prepared, batches.len()));
                for batch in batches {
                    tasks.spawn_local(Rc::clone(&column).run(batch));
                }
            }
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    // A task that panicked has lost reports; the panic's own message is on standard error, and the
                    // count of reports, which is checked against the plan at the end, will not be right.
                    lab.emitter.notice(format!("a fault in vmlab itself: {error}"));
                }
            }
        })
        .await;
}

/// One kernel's scenarios.
struct Column {
    lab: Rc<Lab>,
    prepared: Prepared,
    /// The kernel does not get as far as the hello: what came of the guest that showed it. It is not tried again.
    dead: RefCell<Option<Verdict>>,
    /// Where its guests come from; None until the first is needed. Whoever finds out holds the lock meanwhile.
    source: Mutex<Option<Source>>,
    /// Forks that wait for work: while a scenario runs, the next guest is made ready.
    spare: RefCell<Vec<Guest>>,
    /// Batches that have no guest yet.
    waiting: Cell<usize>,
}

impl Column {
    fn new(lab: Rc<Lab>, prepared: Prepared, batches: usize) -> Self {
        let (dead, source, spare) = (RefCell::new(None), Mutex::new(None), RefCell::new(Vec::new()));
        Self { lab, prepared, dead, source, spare, waiting: Cell::new(batches) }
    }

    async fn run(self: Rc<Self>, batch: Vec<ScenarioSpec>) {
        let mut batch = batch;
        while !batch.is_empty() {
            // The semaphore is never closed; were it, nothing would keep the guests apart, and none is started.
            let Ok(_slot) = self.lab.slots.acquire().await else { return };
            let guest = match self.guest().await {
                Ok(guest) => guest,
                Err(verdict) => return self.report_all(batch, &verdict),
            };
            let before = batch.len();
            batch = match run_guest(&self.lab, &self.prepared, guest, batch).await {
                GuestRun::Served(rest) if rest.len() == before && self.lab.stopped().is_none() => {
                    let detail = "the guest was lost before it announced anything".to_owned();
                    return self.report_all(rest, &Verdict::GuestVanished { detail });
                }
                GuestRun::Served(rest) => rest,
                GuestRun::NeverReady(verdict, rest) => {
                    if self.lab.stopped().is_none() {
                        self.dead.replace(Some(verdict));
                    }
                    rest
                }
                GuestRun::ForkFailed(why, rest) => {
                    self.give_up_forks(&why).await;
                    rest
                }
            };
        }
    }

    /// A guest for one batch, or what its scenarios come to without one.
    async fn guest(&self) -> Result<Guest, Verdict> {
        let source = if self.lab.options.isolation == Isolation::Fork {
            let mut source = self.source.lock().await;
            match &*source {
                Some(source) => source.clone(),
                None if self.over().is_none() => {
                    source.insert(templates::source(&self.lab, &self.prepared).await).clone()
                }
                None => Source::ColdBoots,
            }
        } else {
            Source::ColdBoots
        };
        if let Some(verdict) = self.over() {
            return Err(verdict);
        }
        self.waiting.set(self.waiting.get().saturating_sub(1));
        let template = match source {
            Source::Dead(verdict) => return Err(verdict),
            Source::ColdBoots => return self.launch(&Origin::Boot),
            Source::Forks(template) => template,
        };
        let spare = self.spare.borrow_mut().pop();
        let guest = match spare {
            Some(guest) => guest,
            None => self.launch(&Origin::Fork(&template))?,
        };
        // Not more than one for each slot: a guest that waits costs memory.
        let spares = self.spare.borrow().len();
        if spares < self.waiting.get().min(self.lab.options.guests_at_once) {
            let next = self.launch(&Origin::Fork(&template))?;
            self.spare.borrow_mut().push(next);
        }
        Ok(guest)
    }

    fn launch(&self, origin: &Origin<'_>) -> Result<Guest, Verdict> {
        launch(&self.lab, &self.prepared, origin).map_err(|detail| Verdict::LaunchFailed { detail })
    }

    /// The verdict on all that is left, where nothing more is to be started.
    fn over(&self) -> Option<Verdict> {
        self.dead.borrow().clone().or_else(|| self.lab.stopped().map(Stop::not_run))
    }

    /// From here on guests are booted; said and done once.
    async fn give_up_forks(&self, why: &str) {
        let mut source = self.source.lock().await;
        if matches!(&*source, Some(Source::Forks(_))) {
            templates::discard(&self.lab, &self.prepared);
            *source = Some(templates::cold(&self.lab, &self.prepared, &format!("a fork did not come to life: {why}")));
            self.spare.borrow_mut().clear();
        }
    }

    fn report_all(&self, scenarios: Vec<ScenarioSpec>, verdict: &Verdict) {
        for spec in scenarios {
            self.lab.emitter.emit(LabEvent::ScenarioFinished(Box::new(ScenarioReport {
                kernel: self.prepared.kernel.label.clone(),
                scenario: spec.id,
                guest: None,
                verdict: verdict.clone(),
                legs: Vec::new(),
                warnings: Vec::new(),
                stdout: String::new(),
                stderr: String::new(),
                output_dropped: 0,
                duration_ms: 0,
            })));
        }
    }
}
