//! What a job's legs do.

use std::path::Path;

use vmlab_protocol::command::Command;
use vmlab_protocol::job::{Job, SuiteId};
use vmlab_protocol::message::{Leg, LegOutcome};

use crate::files::Files;
use crate::scenarios::{self, Scenario};
use crate::{command, faults, kunit, modules};

/// The code of a job.
pub(super) enum Work<'a> {
    /// A scenario, or a fault that a leg commits.
    Scenario(&'static Scenario),
    Kunit(SuiteId),
    /// A program of the host's, and the way to the host's files if the guest has one.
    Command(Box<Command>, Option<&'a Files>),
}

impl<'a> Work<'a> {
    /// The code of a job. The error says why it cannot run.
    pub(super) fn find(job: &Job, command: Option<Box<Command>>, files: Option<&'a Files>) -> Result<Self, String> {
        match job {
            Job::Scenario(id) => {
                let fault = || faults::find(id.as_str()).map(|fault| &fault.scenario);
                let scenario = scenarios::find(id.as_str()).or_else(fault).map(Self::Scenario);
                scenario.ok_or_else(|| format!("nothing here is named {job}"))
            }
            Job::Kunit(suite) => Ok(Self::Kunit(suite.clone())),
            Job::Command(_) => command
                .map(|command| Self::Command(command, files))
                .ok_or_else(|| format!("the host did not say what {job} is to run")),
        }
    }

    /// Whether the subject is followed by a control.
    pub(super) const fn has_control(&self) -> bool {
        match self {
            Self::Scenario(scenario) => scenario.has_control(),
            Self::Kunit(_) | Self::Command(..) => false,
        }
    }

    /// The command that a leg is, which takes input and signals from the host; None if the leg is code of this program.
    pub(super) fn command(&self, leg: Leg) -> Option<&Command> {
        match self {
            Self::Command(command, _) if leg == Leg::Subject => Some(command),
            _ => None,
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
            Self::Command(command, files) => command::probe(command, *files),
        }
    }
}
