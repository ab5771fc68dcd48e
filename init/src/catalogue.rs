//! What jobs there are: the descriptions for the host.

use vmlab_protocol::catalogue::{BadScenarioId, ScenarioSpec};

use crate::faults;
use crate::measure::{self, Measure};
use crate::scenarios::{self, Scenario};

/// The scenarios, sorted by name.
///
/// # Errors
/// A name is not of the form `area.name`.
pub fn scenarios() -> Result<Vec<ScenarioSpec>, BadScenarioId> {
    scenarios::all().map(Scenario::spec).collect()
}

/// The faults of the fault suite, in the form of scenarios.
///
/// # Errors
/// As [`scenarios`].
pub fn faults() -> Result<Vec<ScenarioSpec>, BadScenarioId> {
    faults::all().map(|fault| fault.scenario.spec()).collect()
}

/// The measuring scenarios, sorted by name.
///
/// # Errors
/// As [`scenarios`].
pub fn measures() -> Result<Vec<ScenarioSpec>, BadScenarioId> {
    measure::all().map(Measure::spec).collect()
}
