//! Stamps and counts events, and passes them to the sink.

use std::cell::RefCell;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use tracing::{info, warn};
use vmlab_events::event::{Counts, LabEvent, Stamped};

/// Receives the events of a run.
pub trait Sink {
    /// Opens the sink's outputs, such as the record. Called once, when the run is prepared, before the first event.
    ///
    /// # Errors
    /// An error ends the run.
    fn open(&mut self) -> Result<Opened, Box<dyn Error + Send + Sync>> {
        Ok(Opened::default())
    }

    /// Receives an event, in order. A sink handles its own failures; the run continues.
    fn take(&mut self, event: &Stamped);
}

impl<F: FnMut(&Stamped)> Sink for F {
    fn take(&mut self, event: &Stamped) {
        self(event);
    }
}

/// The result of opening a sink.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// The run's record; None if the run keeps none (`--no-record`, or it cannot be written).
    pub record: Option<Record>,
    /// Notices for the user, one sentence each.
    pub notices: Vec<String>,
}

/// A run's record.
#[derive(Debug, Clone)]
pub struct Record {
    /// The run's id.
    pub run_id: String,
    /// The directory for the guests' consoles.
    pub dir: PathBuf,
}

/// Stamps events and passes them to a sink.
pub(crate) struct Emitter {
    began: Instant,
    state: RefCell<State>,
}

struct State {
    sink: Box<dyn Sink>,
    counts: Counts,
}

impl Emitter {
    /// Starts the run's clock.
    pub(crate) fn new(sink: Box<dyn Sink>) -> Self {
        Self { began: Instant::now(), state: RefCell::new(State { sink, counts: Counts::default() }) }
    }

    pub(crate) fn emit(&self, event: LabEvent) {
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.state.borrow_mut();
        if let LabEvent::JobFinished(report) = &event {
            state.counts.add(report.verdict.class());
        }
        log(&event);
        state.sink.take(&Stamped { elapsed_ms, event });
    }

    /// Emits a line for the user.
    pub(crate) fn notice(&self, text: impl Into<String>) {
        self.emit(LabEvent::Notice { text: text.into() });
    }

    /// The number of ended jobs for each class of verdicts.
    pub(crate) fn counts(&self) -> Counts {
        self.state.borrow().counts
    }
}

/// Logs the verdicts, and the notices. The other events are in the record's event log.
fn log(event: &LabEvent) {
    match event {
        LabEvent::JobAttempted(report) | LabEvent::JobFinished(report) => {
            let (job, target, verdict) = (report.job.name(), report.target.as_str(), report.verdict.label());
            let detail = report.verdict.detail();
            if report.verdict.class().is_failure() {
                warn!(job, target, attempt = report.attempt, verdict, detail, "verdict");
            } else {
                info!(job, target, attempt = report.attempt, verdict, detail, "verdict");
            }
        }
        LabEvent::Notice { text } => info!("{text}"),
        _ => {}
    }
}
