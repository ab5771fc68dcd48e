//! What runs in a guest.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmlab_protocol::catalogue::{Allowance, Control, KernelVersion, MachineNeed, Requirement, ScenarioSpec};

pub use vmlab_protocol::job::{BadSuite, CommandId, Job, SuiteId};

/// The time limit of each leg of a KUnit suite, at the speed of real hardware. KUnit's own limit for one test is 300 s
/// (lib/kunit/try-catch.c), and suites that pass take a few seconds.
const SUITE_LEG_TIMEOUT: Duration = Duration::from_mins(1);

/// The time limit of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegLimit {
    /// At the speed of real hardware; an emulator gets more.
    OnHardware(Duration),
    /// The user's.
    Exactly(Duration),
    /// The leg may take as long as it wants.
    None,
}

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
    /// See [`Job::Command`].
    Command(Box<CommandSpec>),
}

/// A command, without its environment: that may hold secrets, and a record is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// The job's identity.
    pub id: CommandId,
    /// The program and its arguments, for texts.
    pub words: Vec<String>,
    /// The time limit that the user set, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether kernel warnings do not fail the job.
    #[serde(default)]
    pub allow_warnings: bool,
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
            Self::Command(command) => Job::Command(command.id.clone()),
        }
    }

    /// As [`Job::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Scenario(spec) => spec.id.as_str(),
            Self::Kunit(suite) => suite.as_str(),
            Self::Command(command) => command.id.as_str(),
        }
    }

    /// Whether this is that job.
    #[must_use]
    pub fn is(&self, job: &Job) -> bool {
        match (self, job) {
            (Self::Scenario(spec), Job::Scenario(id)) => spec.id == *id,
            (Self::Kunit(suite), Job::Kunit(id)) => suite == id,
            (Self::Command(command), Job::Command(id)) => command.id == *id,
            (Self::Scenario(_) | Self::Kunit(_) | Self::Command(_), _) => false,
        }
    }

    /// What the job shows, and where that is documented: `the hostname is per UTS namespace (uts_namespaces(7))`.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Scenario(spec) => format!("{} ({})", spec.title, spec.source),
            Self::Kunit(suite) => format!("the kernel's KUnit suite `{}`", suite.suite()),
            Self::Command(command) => format!("the command `{}`", command.words.join(" ")),
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
                Control::Runs | Control::Baseline => None,
            },
            // A suite is the kernel's own test, with a result for each of its tests, and no experiment of vmlab's; nor is a
            // command.
            Self::Kunit(_) | Self::Command(_) => None,
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
                backports: Vec::new(),
            },
            // Its root is an overlay on the host's files.
            Self::Command(_) => Requirement {
                config: vec!["CONFIG_FUSE_FS".to_owned(), "CONFIG_OVERLAY_FS".to_owned()],
                since: KernelVersion::new(4, 0, 0),
                backports: Vec::new(),
            },
        }
    }

    /// What the job needs of the machine.
    #[must_use]
    pub fn machine(&self) -> MachineNeed {
        match self {
            Self::Scenario(spec) => spec.machine,
            Self::Kunit(_) | Self::Command(_) => MachineNeed::default(),
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
            Self::Command(command) => {
                let every = Allowance { pattern: String::new(), reason: "the user allows them".to_owned() };
                if command.allow_warnings { vec![every] } else { Vec::new() }
            }
        }
    }

    /// The time limit of each leg.
    #[must_use]
    pub fn leg_limit(&self) -> LegLimit {
        match self {
            Self::Scenario(spec) => LegLimit::OnHardware(Duration::from_millis(spec.leg_timeout_ms)),
            Self::Kunit(_) => LegLimit::OnHardware(SUITE_LEG_TIMEOUT),
            Self::Command(command) => {
                command.timeout_ms.map_or(LegLimit::None, |ms| LegLimit::Exactly(Duration::from_millis(ms)))
            }
        }
    }
}
