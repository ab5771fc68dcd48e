//! What happens in a run of vmlab, as owned values that can be stored and rendered again.
//!
//! The lab makes events and prints nothing; reporters render them and decide nothing. Details are fields; [`text`] is the
//! one module that renders them.

pub mod attempts;
pub mod clean;
pub mod error;
pub mod event;
pub mod exit;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod job;
pub mod log;
pub mod loss;
pub mod markdown;
pub mod order;
pub mod progress;
pub mod schedule;
pub mod suite;
pub mod target;
pub mod text;
pub mod verdict;
