//! What is different between the results of two runs, or of two kernels of one run. Pure.
//!
//! [`side`] reads the events of a run, [`pair`] says which results belong together, [`difference`] compares two of them
//! ([`change`], [`kernel_report`], [`cost`]), and [`render`] writes the result.

pub mod change;
pub mod cost;
pub mod difference;
pub mod kernel_report;
pub mod pair;
pub mod render;
pub mod side;

#[cfg(test)]
mod fixture;
