//! Thin, documented wrappers of system calls: the only unsafe code of this crate.

#![expect(unsafe_code, reason = "system calls that nix has no safe form for; each block says why it is sound")]

pub mod ipc;
pub mod mount;
pub mod process;
pub mod random;
pub mod uts;
