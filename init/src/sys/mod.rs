//! Thin wrappers of system calls. All unsafe code of this crate is here.

#![expect(unsafe_code, reason = "system calls that nix has no safe form for; each block says why it is sound")]

pub(crate) mod files;
pub(crate) mod ipc;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod shared;
pub(crate) mod terminal;
pub(crate) mod uts;
