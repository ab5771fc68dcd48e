//! `vmlab selftest`: tests of vmlab itself on this machine.
//!
//! The fault suite makes a guest, QEMU, the host or vmlab fail in a known way during a real `vmlab run`, and compares
//! the verdict, its text and the exit code with those that [`table`] expects. Each fault runs beside a scenario that
//! has nothing to do with it, the witness, whose verdict must not change.
//!
//! [`run`] executes the suite. [`mod@env`] provides directories of their own for runs of vmlab, and finds what they
//! leave behind; vmlab's end-to-end tests use it as well.

mod clock;
pub mod configs;
pub mod env;
mod expect;
mod injection;
mod launch;
mod module;
pub mod mutations;
mod record;
mod row;
mod suite;
pub mod table;

pub use expect::{Expected, WITNESS};
pub use injection::Injection;
pub use row::{Outcome, RowResult};
pub use suite::{Event, Plan, SelftestError, Summary, run};
