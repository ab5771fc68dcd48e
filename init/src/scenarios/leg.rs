//! Running one leg.
use vmlab_protocol::message::{Leg, LegOutcome};
use super::Scenario;
/// Placeholder until the scenarios branch is merged.
pub fn run_leg(scenario: &'static Scenario, leg: Leg) -> LegOutcome {
    let _ = (scenario, leg);
    LegOutcome::Available
}
