//! Progress of long work, reported without knowledge of who shows it.

/// Receives the progress of a piece of work. The work must not depend on whether it is shown.
pub trait Progress: Send + Sync {
    /// The present step, as `debian:trixie: downloading linux-image-…`.
    fn step(&self, what: &str);
    /// How much of the present step is done, in percent.
    fn percent(&self, percent: u8);
    /// The work has ended.
    fn done(&self);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str) {}
    fn percent(&self, _percent: u8) {}
    fn done(&self) {}
}
