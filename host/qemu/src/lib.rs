//! QEMU: the program, its accelerator, command line, process, monitor (QMP), and templates.

pub mod accel;
pub mod accelerator;
pub mod argv;
pub mod command;
pub mod cpu_usage;
pub mod devices;
#[cfg(test)]
mod fake;
pub mod frozen;
pub mod mark;
pub mod parameters;
mod probe;
pub mod process;
pub mod qemu;
pub mod qmp;
pub mod quirks;
mod quote;
pub mod spawn;
pub mod template;
pub mod worker;
