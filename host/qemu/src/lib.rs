//! QEMU: which one, under which accelerator, its command line, its process, its monitor.

pub mod accel;
pub mod argv;
#[cfg(test)]
mod fake;
pub mod probe;
pub mod process;
pub mod qemu;
pub mod qmp;
mod quote;
pub mod spawn;
pub mod template;
pub mod vitals;
