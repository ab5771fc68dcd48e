//! All verdicts: what came of a job, reached by pure functions from all the evidence.

pub mod evidence;
pub mod judge;
pub mod outcome;
