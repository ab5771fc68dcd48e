//! Thin wrappers of system calls. All unsafe code of this crate is here.

#![expect(unsafe_code, reason = "system calls that nix has no safe form for; each block says why it is sound")]

pub(crate) mod attributes;
pub(crate) mod bpf;
pub(crate) mod checkpoint;
pub(crate) mod create;
pub(crate) mod descriptor;
pub(crate) mod files;
pub(crate) mod ipc;
pub(crate) mod landlock;
pub(crate) mod loop_device;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod nsfs;
pub(crate) mod pidfd;
pub(crate) mod privilege;
pub(crate) mod process;
pub(crate) mod quota;
pub(crate) mod random;
pub(crate) mod seccomp;
pub(crate) mod shared;
pub(crate) mod socket;
pub(crate) mod statmount;
pub(crate) mod system;
pub(crate) mod terminal;
pub(crate) mod uts;
