//! How long work says how far it is, without knowing who shows it.

/// Takes in how far a piece of work is. Nothing may depend on whether anybody looks.
pub trait Progress: Send + Sync {
    /// What is being done now, as `debian:trixie: downloading linux-image-…`.
    fn step(&self, what: &str);
    /// How much of the present step is done, in percent.
    fn percent(&self, percent: u8);
    /// The work has ended: what was shown may go.
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
