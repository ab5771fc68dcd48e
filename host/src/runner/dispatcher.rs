//! Order and concurrency: every kernel's scenarios in guests, no more guests at once than there are slots, and exactly
//! one report for every scenario on every kernel, whatever happens.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::{JoinSet, LocalSet};
use vmlab_protocol::catalogue::ScenarioSpec;

use super::executor::{GuestRun, run_guest};
use super::lab::{Lab, Prepared};
use crate::event::{LabEvent, ScenarioReport};
use crate::verdict::Verdict;

/// Runs the scenarios on each kernel; returns when each has its report.
pub async fn run(lab: &Rc<Lab>, kernels: Vec<Prepared>, scenarios: &[ScenarioSpec]) {
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut tasks = JoinSet::new();
            for prepared in kernels {
                let column = Rc::new(Column { lab: Rc::clone(lab), prepared, dead: RefCell::new(None) });
                for batch in lab.options.isolation.batches(scenarios) {
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
}

impl Column {
    async fn run(self: Rc<Self>, batch: Vec<ScenarioSpec>) {
        let mut batch = batch;
        while !batch.is_empty() {
            // The semaphore is never closed; were it, nothing would keep the guests apart, and none is started.
            let Ok(_slot) = self.lab.slots.acquire().await else { return };
            if let Some(verdict) = self.verdict_without_running() {
                return self.report_all(batch, &verdict);
            }
            let before = batch.len();
            batch = match run_guest(&self.lab, &self.prepared, batch).await {
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
            };
        }
    }

    fn verdict_without_running(&self) -> Option<Verdict> {
        self.dead.borrow().clone().or_else(|| self.lab.stopped().map(super::lab::Stop::not_run))
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
