//! Renderings of the events of a run. Reporters render and never decide: the same events give the same bytes, whether
//! they come from a run or from its record.

use std::io;

use vmlab_events::event::Stamped;

mod excerpt;
pub mod human;
mod json;
pub mod junit;
pub mod ktap;
mod loss;
mod output;
mod percentile;
mod place;
pub mod progress;
mod rate;
mod reporters;
mod run;
pub mod screen;
mod spec;
pub mod stdio;
pub mod style;
mod timings;

pub use reporters::{OpenError, ReportFailed, Reporters, ReportsFailed, Setup};
pub use spec::{BadReportSpec, Format, ReportSpec, Target};

/// Renders events.
pub trait Reporter: Send {
    /// Takes in one more event, in order.
    ///
    /// # Errors
    /// Where the rendering cannot be written; the reporter is not called again then.
    fn event(&mut self, event: &Stamped) -> io::Result<()>;

    /// No more events come, whether or not the run has ended well. What was announced and has no verdict is told as not
    /// run.
    ///
    /// # Errors
    /// Where the rendering cannot be written.
    fn finish(&mut self) -> io::Result<()>;
}
