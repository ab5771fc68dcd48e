//! Builds kernels from source trees: config fragments are merged, the kernel's own build makes a kernel of them, and every
//! requested symbol is checked in the result.

pub mod config;
pub mod kconfig;
