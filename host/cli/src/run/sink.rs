//! Where a run's events go: the record first, then the reports.

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, Write as _};
use std::rc::Rc;
use std::time::SystemTime;

use vmlab_events::error::chain;
use vmlab_events::event::Stamped;
use vmlab_lab::{Opened, Record, Sink};
use vmlab_report::{ReportSpec, Reporters, Setup};
use vmlab_store::dirs::Dirs;
use vmlab_store::record::{RecordError, RunRecord};

use crate::Failure;
use crate::logging::Logging;

/// The record and the reports of a run.
#[derive(Debug)]
pub(crate) struct RunSink {
    dirs: Dirs,
    keeps_record: bool,
    reports: Vec<ReportSpec>,
    setup: Setup,
    logging: Logging,
    record: Option<RunRecord>,
    reporters: Reporters,
    failures: Vec<String>,
}

impl RunSink {
    /// Opens nothing yet.
    pub(crate) fn new(
        dirs: Dirs,
        keeps_record: bool,
        reports: Vec<ReportSpec>,
        setup: Setup,
        logging: Logging,
    ) -> Rc<RefCell<Self>> {
        let (record, reporters, failures) = (None, Reporters::default(), Vec::new());
        Rc::new(RefCell::new(Self { dirs, keeps_record, reports, setup, logging, record, reporters, failures }))
    }

    fn open(&mut self) -> Result<Opened, Failure> {
        let mut opened = Opened::default();
        if self.keeps_record {
            let record = RunRecord::create(&self.dirs, SystemTime::now())
                .map_err(|error| Failure::lab(format!("{}, or give --no-record", chain(&error))))?;
            opened.notices.clone_from(&record.notices);
            opened.notices.extend(self.logging.keep_in(&record.dir));
            opened.record = Some(Record { run_id: record.id.clone(), dir: record.dir.clone() });
            self.setup.record = Some(record.dir.clone());
            self.record = Some(record);
        }
        self.reporters = Reporters::open(&self.reports, &self.setup)?;
        Ok(opened)
    }

    fn take(&mut self, event: &Stamped) {
        if let Some(record) = &mut self.record
            && let Err(error) = record.append(event)
        {
            let text = chain(&error);
            // The run goes on without a record, and says so now and at its end; where standard error is closed, the exit
            // code says it.
            writeln!(io::stderr(), "vmlab: {text}; the run goes on without a record").unwrap_or_default();
            self.failures.push(text);
            self.record = None;
            if matches!(error, RecordError::Lost(_)) {
                self.reporters.record_lost();
            }
        }
        self.reporters.event(event);
    }

    /// Ends the record and the reports, and names those that were not written whole.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        let mut failures = std::mem::take(&mut self.failures);
        if let Some(record) = self.record.take() {
            let error = record.finish().err();
            if matches!(error, Some(RecordError::Lost(_))) {
                self.reporters.record_lost();
            }
            failures.extend(error.map(|error| chain(&error)));
        }
        let finished = std::mem::take(&mut self.reporters).finish();
        failures.extend(finished.err().map(|error| error.to_string()));
        failures
    }
}

/// The lab's handle on the sink. The command ends the sink once the lab is done.
pub(crate) struct Handle(pub(crate) Rc<RefCell<RunSink>>);

impl Sink for Handle {
    fn open(&mut self) -> Result<Opened, Box<dyn Error + Send + Sync>> {
        Ok(self.0.borrow_mut().open()?)
    }

    fn take(&mut self, event: &Stamped) {
        self.0.borrow_mut().take(event);
    }
}
