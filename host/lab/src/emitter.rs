//! The one place where events are stamped, counted and handed on.

use std::cell::RefCell;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use vmlab_events::event::{Counts, LabEvent, Stamped};

/// Takes in the events of a run.
pub trait Sink {
    /// All that the run needs is there, and the first event is about to come: what the sink writes to is opened now.
    ///
    /// # Errors
    /// The run is given up.
    fn open(&mut self) -> Result<Opened, Box<dyn Error + Send + Sync>> {
        Ok(Opened::default())
    }

    /// Takes in one event, in order. A sink deals with its own failures: the run goes on.
    fn take(&mut self, event: &Stamped);
}

impl<F: FnMut(&Stamped)> Sink for F {
    fn take(&mut self, event: &Stamped) {
        self(event);
    }
}

/// Where a run is recorded.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// The run's record; None where no record is kept.
    pub record: Option<Record>,
    /// What the user should know of it, each in a sentence.
    pub notices: Vec<String>,
}

/// A run's record.
#[derive(Debug, Clone)]
pub struct Record {
    /// The run's name.
    pub run_id: String,
    /// The directory, where the guests' consoles go.
    pub dir: PathBuf,
}

/// Stamps events and hands them to a sink.
pub(crate) struct Emitter {
    began: Instant,
    state: RefCell<State>,
}

struct State {
    sink: Box<dyn Sink>,
    counts: Counts,
}

impl Emitter {
    /// The run's clock starts now.
    pub(crate) fn new(sink: Box<dyn Sink>) -> Self {
        Self { began: Instant::now(), state: RefCell::new(State { sink, counts: Counts::default() }) }
    }

    pub(crate) fn emit(&self, event: LabEvent) {
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.state.borrow_mut();
        if let LabEvent::JobFinished(report) = &event {
            state.counts.add(report.verdict.class());
        }
        state.sink.take(&Stamped { elapsed_ms, event });
    }

    /// Emits a line for the user.
    pub(crate) fn notice(&self, text: impl Into<String>) {
        self.emit(LabEvent::Notice { text: text.into() });
    }

    /// How many jobs have ended how so far.
    pub(crate) fn counts(&self) -> Counts {
        self.state.borrow().counts
    }
}
