//! What runs in a guest.

use serde::{Deserialize, Serialize};
use vmlab_protocol::catalogue::{Allowance, Control, KernelVersion, Requirement, ScenarioSpec};

pub use vmlab_protocol::job::{BadSuite, Job, SuiteId};

/// The time limit of each leg of a KUnit suite, in ms, at the speed of real hardware. KUnit's own limit for one test is
/// 300 s (lib/kunit/try-catch.c), and suites that pass take a few seconds.
const SUITE_LEG_TIMEOUT_MS: u64 = 60_000;

/// Reports that suites cause on purpose: suite, text of the headline, reason.
const ON_PURPOSE: [(&str, &str, &str); 1] = [(
    "kunit_platform_device",
    "sysfs: cannot create duplicate filename '/devices/platform/kunit-platform-add",
    "the suite adds a device twice, to see that the second time fails (lib/kunit/platform-test.c)",
)];

/// A job and all that is known of it before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSpec {
    /// See [`Job::Scenario`].
    Scenario(Box<ScenarioSpec>),
    /// See [`Job::Kunit`].
    Kunit(SuiteId),
}

impl From<ScenarioSpec> for JobSpec {
    fn from(spec: ScenarioSpec) -> Self {
        Self::Scenario(Box::new(spec))
    }
}

impl JobSpec {
    /// The job's identity.
    #[must_use]
    pub fn job(&self) -> Job {
        match self {
            Self::Scenario(spec) => Job::Scenario(spec.id.clone()),
            Self::Kunit(suite) => Job::Kunit(suite.clone()),
        }
    }

    /// As [`Job::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Scenario(spec) => spec.id.as_str(),
            Self::Kunit(suite) => suite.as_str(),
        }
    }

    /// Whether this is that job.
    #[must_use]
    pub fn is(&self, job: &Job) -> bool {
        match (self, job) {
            (Self::Scenario(spec), Job::Scenario(id)) => spec.id == *id,
            (Self::Kunit(suite), Job::Kunit(id)) => suite == id,
            (Self::Scenario(_), Job::Kunit(_)) | (Self::Kunit(_), Job::Scenario(_)) => false,
        }
    }

    /// What the job shows, and where that is documented: `the hostname is per UTS namespace (uts_namespaces(7))`.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Scenario(spec) => format!("{} ({})", spec.title, spec.source),
            Self::Kunit(suite) => format!("the kernel's KUnit suite `{}`", suite.suite()),
        }
    }

    /// Whether a control follows the subject.
    #[must_use]
    pub fn has_control(&self) -> bool {
        matches!(self, Self::Scenario(spec) if spec.control == Control::Runs)
    }

    /// Why the job cannot prove that it can fail, where that is so.
    #[must_use]
    pub fn no_control(&self) -> Option<&str> {
        match self {
            Self::Scenario(spec) => match &spec.control {
                Control::Impossible { why } => Some(why),
                Control::Runs => None,
            },
            // A suite is the kernel's own test, with a result for each of its tests, and no experiment of vmlab's.
            Self::Kunit(_) => None,
        }
    }

    /// What the job needs of the kernel.
    #[must_use]
    pub fn requirement(&self) -> Requirement {
        match self {
            Self::Scenario(spec) => spec.requires.clone(),
            Self::Kunit(_) => Requirement {
                config: vec!["CONFIG_KUNIT".to_owned(), "CONFIG_KUNIT_DEBUGFS".to_owned()],
                since: KernelVersion::new(5, 8, 0),
            },
        }
    }

    /// Kernel reports that do not fail the job.
    #[must_use]
    pub fn allows(&self) -> Vec<Allowance> {
        match self {
            Self::Scenario(spec) => spec.allows.clone(),
            Self::Kunit(suite) => {
                let of_suite = ON_PURPOSE.iter().filter(|(name, ..)| *name == suite.suite());
                let allowance = |&(_, pattern, reason): &(&str, &str, &str)| Allowance {
                    pattern: pattern.to_owned(),
                    reason: reason.to_owned(),
                };
                of_suite.map(allowance).collect()
            }
        }
    }

    /// The time limit of each leg, in ms, at the speed of real hardware.
    #[must_use]
    pub const fn leg_timeout_ms(&self) -> u64 {
        match self {
            Self::Scenario(spec) => spec.leg_timeout_ms,
            Self::Kunit(_) => SUITE_LEG_TIMEOUT_MS,
        }
    }
}
