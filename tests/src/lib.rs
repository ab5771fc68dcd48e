//! Shared parts of the end-to-end tests.
//!
//! [`fake`] is a scripted QEMU, with which the whole host is tested without a kernel, through its command line. [`mod@env`]
//! runs vmlab in directories of its own and ends all processes of a test. [`lab`] combines the two, and [`outcome`] is a run
//! that has ended. [`kernel`] makes a kernel file that vmlab accepts and that does not boot. [`reports`] checks every report,
//! [`fuzz`] every reader of foreign bytes, and [`storm`] sends signals to runs.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure ends the test")]

pub mod env;
pub mod fake;
pub mod fuzz;
pub mod kernel;
pub mod lab;
pub mod outcome;
pub mod random;
pub mod reports;
pub mod storm;

/// Filters for three scenarios of one area.
pub const UTS: [&str; 3] = ["=uts.domainname", "=uts.hostname", "=uts.sysctl"];
