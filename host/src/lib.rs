//! vmlab boots many Linux kernels in QEMU, lets a PID 1 of its own run scenarios inside, and gives a verdict that can be
//! trusted.
//!
//! A job's way through is straight: [`cli`] -> [`plan`] -> [`kernel`] -> [`image`] -> [`vm`] -> [`guest`] ->
//! [`verdict`] -> [`event`] -> [`report`]. Nothing downstream reaches back up.

pub mod attempts;
pub mod cli;
pub mod error;
pub mod event;
pub mod exit;
pub mod guest;
pub mod image;
pub mod kernel;
pub mod ktap;
pub mod plan;
pub mod progress;
pub mod report;
pub mod runner;
pub mod selftest;
pub mod setup;
pub mod spawn;
pub mod stdio;
pub mod store;
pub mod verdict;
pub mod vm;
