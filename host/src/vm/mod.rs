//! QEMU: which one, under which accelerator.

pub mod accel;
#[cfg(test)]
mod fake;
pub mod probe;
pub mod qemu;
mod quote;
