//! Runs a leg in the process that the agent has forked for it.

use vmlab_protocol::message::{Leg, LegOutcome};

use super::{Finding, Probe, Scenario, Trouble};
use crate::sandbox::undo;

/// Runs one leg of a scenario in the calling process, which must be root in the initial namespaces and have one thread.
#[must_use]
pub(crate) fn run_leg(scenario: &Scenario, leg: Leg) -> LegOutcome {
    let outcome = match leg {
        Leg::Probe => probe(scenario).map(|probe| match probe {
            Probe::Available => LegOutcome::Available,
            Probe::Missing(evidence) => LegOutcome::Missing { evidence },
        }),
        Leg::Subject => (scenario.trial)(&scenario.sandbox).map(outcome_of),
        Leg::Control => match scenario.no_control {
            None => (scenario.trial)(&scenario.sandbox.control()).map(outcome_of),
            Some(why) => Err(Trouble(format!("no control is possible for this scenario: {why}"))),
        },
    };
    undo::check_undone(outcome).unwrap_or_else(|Trouble(detail)| LegOutcome::Failed { detail })
}

fn probe(scenario: &Scenario) -> Result<Probe, Trouble> {
    // The sandbox's probe comes last, because it leaves this process in new namespaces.
    match scenario.probe.map_or(Ok(Probe::Available), |own| own())? {
        Probe::Available => scenario.sandbox.probe(),
        missing @ Probe::Missing(_) => Ok(missing),
    }
}

fn outcome_of(finding: Finding) -> LegOutcome {
    match finding {
        Finding::Isolated(detail) => LegOutcome::Isolated { detail },
        Finding::Leaked(detail) => LegOutcome::Leaked { detail },
    }
}
