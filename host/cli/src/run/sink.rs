//! Where a run's events go: the record first, then the reports.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::rc::Rc;

use vmlab_events::event::Stamped;
use vmlab_lab::emitter::Sink;
use vmlab_report::{Reporters, ReportsFailed};
use vmlab_store::record::RunRecord;

/// The record and the reports of a run.
#[derive(Debug)]
pub(super) struct RunSink {
    record: Option<RunRecord>,
    reporters: Reporters,
    failures: Vec<String>,
}

impl RunSink {
    pub(super) fn new(record: Option<RunRecord>, reporters: Reporters) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { record, reporters, failures: Vec::new() }))
    }

    /// Ends the record and the reports. What was not written whole is named.
    pub(super) fn finish(&mut self) -> Vec<String> {
        let mut failures = std::mem::take(&mut self.failures);
        if let Some(record) = self.record.take() {
            failures.extend(record.finish().err().map(|error| vmlab_events::error::chain(&error)));
        }
        let finished: Result<(), ReportsFailed> = std::mem::take(&mut self.reporters).finish();
        failures.extend(finished.err().map(|error| error.to_string()));
        failures
    }
}

/// The emitter's handle on the sink that the command ends later.
pub(super) struct Handle(pub(super) Rc<RefCell<RunSink>>);

impl Sink for Handle {
    fn take(&mut self, event: &Stamped) {
        let mut sink = self.0.borrow_mut();
        if let Some(record) = &mut sink.record
            && let Err(error) = record.append(event)
        {
            let text = vmlab_events::error::chain(&error);
            // The run goes on without a record, and says so now and in the end; where standard error is closed, the
            // exit code says it.
            writeln!(io::stderr(), "vmlab: {text}; the run goes on without a record").unwrap_or_default();
            sink.failures.push(text);
            sink.record = None;
        }
        sink.reporters.event(event);
    }
}
