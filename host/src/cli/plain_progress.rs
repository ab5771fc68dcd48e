//! Progress as plain lines on standard error.

use std::io::{self, Write};

use crate::progress::Progress;

/// One line a step.
#[derive(Debug, Clone, Copy)]
pub struct PlainProgress;

impl Progress for PlainProgress {
    fn step(&self, what: &str) {
        // Nothing may depend on whether anybody looks, so a closed standard error is no failure of the work.
        let _ = writeln!(io::stderr(), "{what}");
    }

    fn percent(&self, _percent: u8) {}

    fn done(&self) {}
}
