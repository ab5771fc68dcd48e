//! What a job's legs do.

use std::path::Path;

use vmlab_protocol::job::{Job, SuiteId};
use vmlab_protocol::message::{Leg, LegOutcome};

use crate::scenarios::{self, Scenario};
use crate::{faults, kunit, modules};

/// The code of a job.
pub(super) enum Work {
    /// A scenario, or a fault that a leg commits.
    Scenario(&'static Scenario),
    Kunit(SuiteId),
}

impl Work {
    /// The code of a job; None if this program does not have it.
    pub(super) fn find(job: &Job) -> Option<Self> {
        match job {
            Job::Scenario(id) => {
                let fault = || faults::find(id.as_str()).map(|fault| &fault.scenario);
                scenarios::find(id.as_str()).or_else(fault).map(Self::Scenario)
            }
            Job::Kunit(suite) => Some(Self::Kunit(suite.clone())),
        }
    }

    /// Whether the subject is followed by a control.
    pub(super) const fn has_control(&self) -> bool {
        match self {
            Self::Scenario(scenario) => scenario.has_control(),
            Self::Kunit(_) => false,
        }
    }

    /// Runs a leg in the calling process. The probe leg of a scenario first loads its modules.
    pub(super) fn run_leg(&self, leg: Leg) -> LegOutcome {
        match self {
            Self::Scenario(scenario) => {
                let modules = if leg == Leg::Probe { scenario.modules } else { &[] };
                for name in modules {
                    let (_, problems) = modules::load_list(Path::new(&format!("/modules/for/{name}.list")));
                    if !problems.is_empty() {
                        return LegOutcome::Failed { detail: problems.join("; ") };
                    }
                }
                scenarios::run_leg(scenario, leg)
            }
            Self::Kunit(suite) => kunit::run_leg(suite.suite(), leg),
        }
    }
}
