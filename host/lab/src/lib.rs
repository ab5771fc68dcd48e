//! Running a plan: the dispatcher decides order and concurrency, the executor leads one guest's life. What happens
//! comes out as events; nothing here prints.

mod attempts;
mod autopsy;
pub mod cache;
mod console_log;
pub mod dispatcher;
pub mod emitter;
mod executor;
pub mod exit_code;
mod fresh;
pub mod guest;
mod hearing;
mod inputs;
pub mod lab;
mod launch;
mod ledger;
pub mod limits;
pub mod phases;
pub mod plan;
mod save;
mod settle;
mod stop;
mod templates;
pub mod verdict;
mod watch;

use std::time::Duration;

/// A duration in ms.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
