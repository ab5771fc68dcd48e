//! Faults that `vmlab selftest faults` injects into a guest to test the verdicts. The agent runs a fault like a
//! scenario, but the catalogue does not list faults, and only the fault suite asks for them.
//!
//! A fault breaks only its guest. The expected verdicts are in the host's code, so that a guest cannot influence them.

use std::fs;
use std::path::Path;

use crate::sandbox::{During, Sandbox};
use crate::scenarios::{Finding, Scenario, Trial, Trouble};

pub(crate) mod agent;
mod guest;
mod kernel;
mod process;

use agent::AgentFault;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// The scenario under whose name the host asks for the fault.
    pub(crate) scenario: Scenario,
    /// The function that the agent calls instead of running legs; None if a leg's process commits the fault.
    pub(crate) agent_fault: Option<AgentFault>,
}

impl Fault {
    /// A fault that a leg's process commits.
    const fn new(id: &'static str, title: &'static str, trial: Trial) -> Self {
        let scenario = Scenario::new(id, title, trial)
            .shows(&["fault"], "vmlab selftest faults")
            .without_control("a fault proves nothing about the kernel");
        Self { scenario, agent_fault: None }
    }

    /// A fault that the agent commits.
    const fn of_agent(id: &'static str, title: &'static str, agent_fault: AgentFault) -> Self {
        let fault = Self::new(id, title, not_for_a_leg);
        Self { agent_fault: Some(agent_fault), ..fault }
    }

    /// Sets the leg's time limit, in ms.
    const fn within(mut self, leg_timeout_ms: u64) -> Self {
        self.scenario = self.scenario.within(leg_timeout_ms);
        self
    }
}

const AREAS: &[&[Fault]] = &[agent::ALL, guest::ALL, kernel::ALL, process::ALL];

pub(crate) fn all() -> impl Iterator<Item = &'static Fault> {
    AREAS.iter().copied().flatten()
}

#[must_use]
pub(crate) fn find(id: &str) -> Option<&'static Fault> {
    all().find(|fault| fault.scenario.experiment.id == id)
}

/// The finding of a trial that has survived its fault.
fn unharmed() -> Finding {
    Finding::Isolated("the fault was injected, and the process is still alive".to_owned())
}

fn not_for_a_leg(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    Err(Trouble::new("only the agent commits this fault"))
}

fn write(path: impl AsRef<Path>, text: &str) -> Result<(), Trouble> {
    let path = path.as_ref();
    fs::write(path, text).during(format_args!("writing {text:?} to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios;

    #[test]
    fn fault_names_are_unique_and_differ_from_scenario_names() {
        let mut ids: Vec<_> = all().map(|fault| fault.scenario.experiment.id).collect();
        ids.sort_unstable();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        for id in ids {
            assert!(id.starts_with("fault."), "{id}");
            assert!(scenarios::find(id).is_none(), "{id}");
            assert!(find(id).unwrap().scenario.spec().is_ok(), "{id}");
        }
    }
}
