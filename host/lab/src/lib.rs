//! Runs jobs in guests: planning, dispatch, a guest's life, attempts, verdicts. The lab emits events and prints
//! nothing.
//!
//! The path of a job: [`Lab::run`] prepares the targets of the [`Plan`], `dispatch` starts a guest for the job, `guest`
//! runs the guest, `verdict` decides the job's verdict, and `attempts` decides whether to retry.
//!
//! One scenario on one kernel:
//!
//! ```no_run
//! use vmlab_events::event::{LabEvent, Stamped};
//! use vmlab_events::job::JobSpec;
//! use vmlab_lab::{Lab, Plan, select};
//! use vmlab_store::dirs::Dirs;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scenarios = select::select(vmlab_image::guest_init::catalogue()?, &["=uts.hostname".parse()?])?;
//! let mut plan = Plan::new(scenarios.into_iter().map(JobSpec::from).collect());
//! plan.kernels = vec!["debian:trixie".parse()?];
//! let sink = |stamped: &Stamped| {
//!     if let LabEvent::JobFinished(report) = &stamped.event {
//!         println!("{} on {}: {}", report.job, report.target, report.verdict.label());
//!     }
//! };
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let summary = runtime.block_on(Lab::new(Dirs::from_env()?).run(plan, sink))?;
//! std::process::exit(summary.exit_code.into());
//! # }
//! ```

mod attempts;
pub mod cache;
mod capacity;
pub mod command;
mod context;
mod dispatch;
mod emitter;
mod error;
mod exit_code;
pub mod guest;
mod lab;
pub mod laps;
pub mod limits;
pub mod machine_plan;
pub mod plan;
mod prepare;
pub mod select;
mod stop;
mod target;
mod variant;
pub mod verdict;

use std::time::Duration;

pub use emitter::{Opened, Record, Sink};
pub use error::RunError;
pub use lab::{Lab, Summary};
pub use plan::Plan;

/// A duration in ms.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
