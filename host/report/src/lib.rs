//! Renderings of the events of a run. Reporters render and never decide: the same events give the same bytes, whether
//! they come from a run or from its record.

use std::io;

use vmlab_events::event::Stamped;

mod excerpt;
mod file_identity;
pub mod human;
mod json;
pub mod junit;
pub mod ktap;
mod loss;
mod output;
mod percentile;
pub mod progress;
mod rate;
mod reporters;
mod run;
pub mod screen;
mod setup;
mod spec;
pub mod stdio;
pub mod style;
mod timings;

pub use reporters::{OpenError, ReportFailed, Reporters, ReportsFailed};
pub use setup::Setup;
pub use spec::{BadReportSpec, Destination, FORMATS, Format, FormatSpec, ReportSpec};

/// Tries whether a document can be written there, and returns what writes it: whole, or not at all.
///
/// # Errors
/// The system's error, for a file that cannot be made.
pub fn document(destination: &Destination) -> io::Result<junit::Deliver> {
    match destination {
        Destination::Stdout => Ok(Box::new(output::to_stdout)),
        Destination::File(path) => output::aside(path),
    }
}

/// Renders events.
pub trait Reporter: Send {
    /// Takes in one more event, in order.
    ///
    /// # Errors
    /// Where the rendering cannot be written; the reporter is not called again then.
    fn event(&mut self, event: &Stamped) -> io::Result<()>;

    /// The run's record was removed: a report that names it leaves it out.
    fn record_lost(&mut self) {}

    /// No more events come, whether or not the run ended well. A job that was announced and has no verdict is reported as
    /// not run.
    ///
    /// # Errors
    /// Where the rendering cannot be written.
    fn finish(&mut self) -> io::Result<()>;
}
