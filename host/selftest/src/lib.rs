//! `vmlab selftest`: vmlab tried out on itself.
//!
//! The fault suite has a guest, a QEMU, a host or vmlab itself go wrong in one known way, by a real `vmlab run` in a
//! process of its own, and compares what came of it with what is written down in [`table`]: the verdict, its words, the
//! exit code, and that the scenario that runs beside the fault is not touched by it.

pub mod bench;
mod clock;
pub mod expect;
pub mod leftovers;
pub mod module;
pub mod processes;
pub mod record;
pub mod sabotage;
pub mod suite;
pub mod table;
