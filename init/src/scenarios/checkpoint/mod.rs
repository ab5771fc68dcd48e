//! Checkpoint and restore: what the kernel gives a program that saves processes and creates them again.

mod attributes;
mod counter;
pub(super) mod image;

use super::pid::fork_as;
pub(super) use super::pid::probe_set_tid;
use super::{Finding, Probe, Scenario, Trouble, support};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[
    &attributes::CAPABILITY,
    &attributes::COMMAND_LINE,
    &counter::COUNTER,
    &attributes::KCMP,
    &counter::MIGRATE,
    &attributes::TIMER_ID,
];
