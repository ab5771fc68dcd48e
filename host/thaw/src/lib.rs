//! Frozen processes: a QEMU that is written to a file, and that any number of processes can become.
//!
//! Two programs do it, which are embedded here. `vmlab-freezer` starts a QEMU as its child and writes its memory, registers,
//! descriptors and filter to an image. `vmlab-thawer` becomes the process of an image. The format of images is in the crate
//! `vmlab-thaw-image`.

pub mod freezer;
pub mod mapped;
pub mod programs;

pub use vmlab_thaw_image::{IMAGE_FD, NOT_THAWED, RAM_FD, VERSION};
