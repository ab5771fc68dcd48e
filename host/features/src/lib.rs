//! The features that the discussion of 2006 asked for, and what came later: as data, held against the results of runs, and
//! rendered as a table of features and kernels.
//!
//! [`list`] and [`findings`] are data, [`results`] reads events, [`outcome`] and [`summary`] judge them, [`table`] makes the
//! model, and [`render`] writes it.

pub mod areas;
pub mod findings;
pub mod list;
pub mod outcome;
pub mod render;
pub mod results;
pub mod summary;
pub mod table;
pub mod versions;

/// The data that is compiled into vmlab is malformed, which is a bug in vmlab. Tests rule this out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("vmlab's {what} is malformed: {why}; this is a bug in vmlab, please report it")]
pub struct BadData {
    what: &'static str,
    why: String,
}

impl BadData {
    fn new(what: &'static str, why: &impl ToString) -> Self {
        Self { what, why: why.to_string() }
    }
}
