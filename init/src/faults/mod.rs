//! Faults: what `vmlab selftest faults` has a guest do, to see whether the verdict is true. They are run as scenarios
//! are, and are none: the catalogue does not show them, and the host asks for one only when it was told to.
//!
//! Everything they break is the guest's own. What each must come to is written down on the host's side, so that no guest
//! has a say in it.

use std::fs;
use std::path::Path;

use crate::sandbox::{During, Sandbox};
use crate::scenarios::{Finding, Scenario, Trial, Trouble};

pub(crate) mod agent;
mod guest;
mod kernel;
mod process;

use agent::Misdeed;

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// How the host asks for it.
    pub(crate) scenario: Scenario,
    /// What the agent itself does in place of running the scenario's legs; none where a leg's process does the harm.
    pub(crate) misdeed: Option<Misdeed>,
}

impl Fault {
    /// One that a leg's process does.
    const fn new(id: &'static str, title: &'static str, trial: Trial) -> Self {
        let scenario = Scenario::new(id, title, trial)
            .shows("fault", "vmlab selftest faults")
            .without_control("a fault proves nothing about the kernel");
        Self { scenario, misdeed: None }
    }

    /// One that the agent itself does.
    const fn of_agent(id: &'static str, title: &'static str, misdeed: Misdeed) -> Self {
        let fault = Self::new(id, title, not_for_a_leg);
        Self { misdeed: Some(misdeed), ..fault }
    }

    /// With a limit of its leg other than the usual one, in ms.
    const fn within(mut self, leg_timeout_ms: u64) -> Self {
        self.scenario = self.scenario.within(leg_timeout_ms);
        self
    }
}

/// All faults, area by area.
const AREAS: &[&[Fault]] = &[agent::ALL, guest::ALL, kernel::ALL, process::ALL];

/// All faults.
pub(crate) fn all() -> impl Iterator<Item = &'static Fault> {
    AREAS.iter().copied().flatten()
}

/// The fault of this name.
#[must_use]
pub(crate) fn find(id: &str) -> Option<&'static Fault> {
    all().find(|fault| fault.scenario.id == id)
}

/// What a trial says that has done its harm and is still there.
fn unharmed() -> Finding {
    Finding::Isolated("the fault was done, and the process is still there".to_owned())
}

fn not_for_a_leg(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    Err(Trouble::new("this fault is the agent's to do"))
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
    fn each_fault_has_a_name_of_its_own_that_no_scenario_has() {
        let mut ids: Vec<_> = all().map(|fault| fault.scenario.id).collect();
        ids.sort_unstable();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        for id in ids {
            assert!(id.starts_with("fault."), "{id}");
            assert!(scenarios::find(id).is_none(), "{id}");
            assert!(find(id).unwrap().scenario.spec().is_ok(), "{id}");
        }
    }
}
