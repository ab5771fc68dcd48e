//! Running a plan: the dispatcher decides order and concurrency, the executor leads one guest's life. What happens
//! comes out as events; nothing here prints.

mod console_log;
pub mod dispatcher;
pub mod emitter;
mod executor;
pub mod exit_code;
mod inputs;
pub mod lab;
mod ledger;
pub mod limits;
