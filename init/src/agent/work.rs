//! What a job's legs do.

use std::path::Path;

use vmlab_protocol::command::Command;
use vmlab_protocol::job::{Job, SuiteId};
use vmlab_protocol::message::{Leg, LegOutcome};

use crate::measure::{self, Measure};
use crate::scenarios::{self, Experiment, Setting};
use crate::{faults, kunit, modules};

/// What a job does.
pub(super) enum Work {
    Code(Code),
    /// A program of the host's, and the outcome of its probe.
    Command(Box<Command>, LegOutcome),
}

/// Code of this program.
pub(super) enum Code {
    /// A scenario's, or a fault that a leg commits.
    Experiment(&'static Experiment),
    Measure(&'static Measure),
    Kunit(SuiteId),
}

/// How a leg is run.
pub(super) enum Way<'a> {
    /// In a process of its own.
    Code(&'a Code),
    /// As a program of the host's, which takes input and signals from the host.
    Command(&'a Command),
    /// Not at all, because its outcome is known.
    Known(&'a LegOutcome),
}

impl Work {
    /// The work of a job. `host_files` tells whether commands can see the host's files. The error says why the job cannot run.
    pub(super) fn find(job: &Job, command: Option<Box<Command>>, host_files: &LegOutcome) -> Result<Self, String> {
        Ok(match job {
            Job::Scenario(id) => {
                let fault = || faults::find(id.as_str()).map(|fault| &fault.scenario.experiment);
                let experiment = scenarios::find(id.as_str()).or_else(fault).map(Code::Experiment);
                let code = experiment.or_else(|| measure::find(id.as_str()).map(Code::Measure));
                Self::Code(code.ok_or_else(|| format!("nothing here is named {job}"))?)
            }
            Job::Kunit(suite) => Self::Code(Code::Kunit(suite.clone())),
            Job::Command(_) => {
                let command = command.ok_or_else(|| format!("the host did not say what {job} is to run"))?;
                let probe = if command.host_files { host_files.clone() } else { LegOutcome::Available };
                Self::Command(command, probe)
            }
        })
    }

    /// Whether the subject is followed by a control.
    pub(super) const fn has_control(&self) -> bool {
        match self {
            Self::Code(Code::Experiment(experiment)) => experiment.has_control(),
            Self::Code(Code::Measure(_) | Code::Kunit(_)) | Self::Command(..) => false,
        }
    }

    pub(super) const fn way(&self, leg: Leg) -> Way<'_> {
        match (self, leg) {
            (Self::Code(code), _) => Way::Code(code),
            (Self::Command(_, probe), Leg::Probe) => Way::Known(probe),
            (Self::Command(command, _), Leg::Subject | Leg::Control) => Way::Command(command),
        }
    }
}

impl Code {
    /// Runs a leg in the calling process. The probe leg of a scenario first loads its modules.
    pub(super) fn run_leg(&self, leg: Leg, setting: Setting) -> LegOutcome {
        match self {
            Self::Experiment(experiment) => {
                let modules = if leg == Leg::Probe { experiment.modules } else { &[] };
                for name in modules {
                    let (_, problems) = modules::load_list(Path::new(&format!("/modules/for/{name}.list")));
                    if !problems.is_empty() {
                        return LegOutcome::Failed { detail: problems.join("; ") };
                    }
                }
                scenarios::run_leg(experiment, leg, setting)
            }
            Self::Measure(measure) => measure.run_leg(leg),
            Self::Kunit(suite) => kunit::run_leg(suite.suite(), leg),
        }
    }
}
