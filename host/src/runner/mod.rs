//! Running a plan: the dispatcher decides order and concurrency, the executor leads one guest's life. What happens
//! comes out as events; nothing here prints.

mod attempts;
mod autopsy;
mod console_log;
pub mod dispatcher;
pub mod emitter;
mod executor;
pub mod exit_code;
mod fresh;
mod hearing;
mod inputs;
pub mod lab;
mod launch;
mod ledger;
pub mod limits;
pub mod phases;
mod save;
mod settle;
mod templates;
mod watch;

use std::time::Duration;

/// A duration in ms.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
