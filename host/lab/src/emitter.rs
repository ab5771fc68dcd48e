//! The one place where events are stamped, counted and handed on.

use std::cell::RefCell;
use std::time::Instant;

use vmlab_events::event::{Counts, LabEvent, Stamped};

/// Takes in events, in order.
pub trait Sink {
    /// Takes in one event. A sink deals with its own failures: nothing may depend on whether anybody looks.
    fn take(&mut self, event: &Stamped);
}

/// Stamps events and hands them to a sink.
pub struct Emitter {
    began: Instant,
    state: RefCell<State>,
}

struct State {
    sink: Box<dyn Sink>,
    counts: Counts,
}

impl Emitter {
    /// The run's clock starts now.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self { began: Instant::now(), state: RefCell::new(State { sink, counts: Counts::default() }) }
    }

    /// Says what happened.
    pub fn emit(&self, event: LabEvent) {
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.state.borrow_mut();
        if let LabEvent::JobFinished(report) = &event {
            state.counts.add(report.verdict.class());
        }
        state.sink.take(&Stamped { elapsed_ms, event });
    }

    /// A line for the user.
    pub fn notice(&self, text: impl Into<String>) {
        self.emit(LabEvent::Notice { text: text.into() });
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state.borrow().counts
    }
}
