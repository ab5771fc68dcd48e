//! What a guest runs of a scenario.

use vmlab_protocol::catalogue::{Expectation, KernelVersion, Namespace, Since};

use super::{Probe, Trouble};
use crate::sandbox::Sandbox;

/// The observation of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The effect was not visible outside the sandbox, or the limit applied.
    Isolated(String),
    /// The effect was visible outside the sandbox, or no limit applied.
    Leaked(String),
}

impl Finding {
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Isolated(detail) | Self::Leaked(detail) => detail,
        }
    }
}

/// The experiment: acts inside the sandbox and observes the effect outside.
pub(crate) type Trial = fn(&Sandbox) -> Result<Finding, Trouble>;

/// A kernel version: the three numbers of 6.12.3.
pub(crate) type Version = (u32, u32, u32);

/// What a guest runs of a scenario. A scenario's words are for the host alone ([`super::Scenario`]).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Experiment {
    /// `area.name`.
    pub(crate) id: &'static str,
    /// The sandbox of the subject.
    pub(crate) sandbox: Sandbox,
    /// The namespaces of the control; mostly none.
    pub(super) control_namespaces: &'static [Namespace],
    pub(super) expects: Expectation,
    pub(super) isolates_since: Option<Version>,
    pub(super) isolation_backports: &'static [Version],
    /// Why no control is possible, if it is not.
    pub(super) no_control: Option<&'static str>,
    /// Modules to load before the first leg, if the kernel has them as modules.
    pub(crate) modules: &'static [&'static str],
    /// A probe for features that the sandbox's own probe does not cover.
    pub(super) probe: Option<fn() -> Result<Probe, Trouble>>,
    pub(super) trial: Trial,
}

impl Experiment {
    #[must_use]
    pub(crate) const fn new(id: &'static str, trial: Trial) -> Self {
        Self {
            id,
            sandbox: Sandbox::none(),
            control_namespaces: &[],
            expects: Expectation::Isolation,
            isolates_since: None,
            isolation_backports: &[],
            no_control: None,
            modules: &[],
            probe: None,
            trial,
        }
    }

    #[must_use]
    pub(crate) const fn has_control(&self) -> bool {
        self.no_control.is_none()
    }

    /// The sandbox of the control.
    #[must_use]
    pub(super) const fn control_sandbox(&self) -> Sandbox {
        self.sandbox.control(self.control_namespaces)
    }

    /// Which kernels isolate, if older ones leak.
    #[must_use]
    pub(super) fn isolating(&self) -> Option<Since> {
        self.isolates_since
            .map(|mainline| Since { mainline: number(mainline), backports: numbers(self.isolation_backports) })
    }

    /// What a kernel of this version is documented to do.
    #[must_use]
    pub(super) fn expects_of(&self, version: KernelVersion) -> Expectation {
        self.expects.of_version(self.isolating().as_ref(), version)
    }
}

#[must_use]
pub(super) fn number((major, minor, patch): Version) -> KernelVersion {
    KernelVersion::new(major, minor, patch)
}

#[must_use]
pub(super) fn numbers(versions: &[Version]) -> Vec<KernelVersion> {
    versions.iter().copied().map(number).collect()
}
