//! Builds kernels from source trees: config fragments are merged, the kernel's own build makes a kernel of them, and every
//! requested symbol is checked in the result.

mod build;
pub mod compiler;
pub mod config;
mod error;
mod explain;
pub mod fragment;
mod fragments;
pub mod identity;
pub mod kconfig;
pub mod library;
mod make;
pub mod merge;
pub mod order;
pub mod steps;
pub mod store;
pub mod suites;
pub mod tree;

pub use build::{Request, config_of, obtain};
pub use error::BuildError;
pub use fragments::fragments;
