//! vmlab's exit codes.

/// All results are as expected.
pub const OK: u8 = 0;
/// A scenario failed.
pub const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub const USAGE: u8 = 2;
/// A kernel crashed.
pub const CRASHED: u8 = 3;
/// Nothing ran.
pub const NOTHING_RAN: u8 = 4;
/// The lab itself failed.
pub const LAB: u8 = 69;
/// A deadline passed.
pub const TIMED_OUT: u8 = 124;
/// Interrupted by the user.
pub const INTERRUPTED: u8 = 130;
