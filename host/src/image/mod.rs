//! The guest image: an initramfs with PID 1 and the modules that it loads.
pub mod decompress;
pub mod guest_init;
pub mod modules;
pub mod newc;
