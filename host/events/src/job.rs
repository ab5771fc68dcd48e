//! What runs in a guest.

use std::fmt;

use serde::{Deserialize, Serialize};
use vmlab_protocol::catalogue::{Control, ScenarioId, ScenarioSpec};

/// One piece of work for a target. A job is identified by its kind and name within a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// A scenario that is built into the guest's PID 1.
    Scenario(ScenarioId),
}

impl Job {
    /// Its name in tables and reports: `uts.hostname`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Scenario(id) => id.as_str(),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A job and all that is known of it before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSpec {
    /// See [`Job::Scenario`].
    Scenario(ScenarioSpec),
}

impl JobSpec {
    /// The job's identity.
    #[must_use]
    pub fn job(&self) -> Job {
        match self {
            Self::Scenario(spec) => Job::Scenario(spec.id.clone()),
        }
    }

    /// As [`Job::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Scenario(spec) => spec.id.as_str(),
        }
    }

    /// Whether this is that job.
    #[must_use]
    pub fn is(&self, job: &Job) -> bool {
        match (self, job) {
            (Self::Scenario(spec), Job::Scenario(id)) => spec.id == *id,
        }
    }

    /// What the job shows, and where that is documented: `the hostname is per UTS namespace (uts_namespaces(7))`.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Scenario(spec) => format!("{} ({})", spec.title, spec.source),
        }
    }

    /// Why the job cannot prove that it can fail, where that is so.
    #[must_use]
    pub fn no_control(&self) -> Option<&str> {
        match self {
            Self::Scenario(ScenarioSpec { control: Control::Impossible { why }, .. }) => Some(why),
            Self::Scenario(_) => None,
        }
    }
}
