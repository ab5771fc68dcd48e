//! The parts of `vmlab-thawer`, a program without a C library that becomes a frozen process. Apart from `vmlab-freezer`, this is the
//! only unsafe code of freezing and thawing.
//!
//! Why it has no C library: it unmaps everything that it was started with and then maps another process's memory, the C library and
//! thread-local storage of that process included. Code that used its own C library in between would find it gone. It is linked at
//! addresses where no other program is ([`vmlab_thaw_image::OWN`]), and stays there, unused, for the life of the process.
//!
//! It needs no privilege, no ptrace and no process that it is forked from: mmap(2), clone(2) and rt_sigreturn(2) do everything.
#![no_std]

mod address_space;
mod descriptors;
pub mod exit;
pub mod failure;
mod kernel;
mod process;
pub mod start;
mod threads;
