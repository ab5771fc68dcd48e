//! Runs a plan for its verdicts alone.

use std::cell::RefCell;
use std::rc::Rc;

use vmlab_events::event::{LabEvent, Stamped};
use vmlab_lab::{Lab, Plan};
use vmlab_selftest::mutations::Verdicts;

use crate::{Context, Failure, progress};

/// The final verdicts of a run.
pub(super) async fn collect(plan: Plan, context: &Context) -> Result<Verdicts, Failure> {
    let verdicts = Rc::new(RefCell::new(Verdicts::new()));
    let sink = Rc::clone(&verdicts);
    let take = move |event: &Stamped| {
        if let LabEvent::JobFinished(report) = &event.event {
            let key = (report.target.clone(), report.job.name().to_owned());
            sink.borrow_mut().insert(key, report.verdict.clone());
        }
    };
    let progress = progress();
    Lab::new(context.dirs.clone()).progress(&progress).run(plan, take).await?;
    Ok(verdicts.take())
}
