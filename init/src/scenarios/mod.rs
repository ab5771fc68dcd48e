//! The scenarios. Each is an experiment: one function, the trial, which is run twice in the same boot — as the subject,
//! in the namespaces that the scenario names, and as the control, without them. The subject must be isolated and the
//! control must leak. What the function sees it says; what that is worth is for the host to decide.

use std::fmt;

use vmlab_protocol::catalogue::{
    BadScenarioId, Control, Expectation, KernelVersion, Namespace, Requirement, ScenarioSpec,
};

use crate::sandbox::Sandbox;

pub mod leg;

/// All scenarios, sorted by name. To add one, write it in its area's file and name it here.
pub const ALL: &[&Scenario] = &[];

/// What a trial saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// What was done did not show outside.
    Isolated(String),
    /// What was done showed outside.
    Leaked(String),
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The feature is there.
    Available,
    /// Positively not there: the call and its errno, or the missing file, as `unshare(CLONE_NEWTIME): EINVAL`. EPERM is
    /// never that.
    Missing(String),
}

/// A leg could not do what it was to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble(pub String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The experiment: does something, and says whether it showed outside the sandbox.
pub type Trial = fn(&Sandbox) -> Result<Finding, Trouble>;

/// One scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// `area.name`
    pub id: &'static str,
    title: &'static str,
    seed: &'static str,
    source: &'static str,
    /// The namespaces of the subject leg.
    pub namespaces: &'static [Namespace],
    expects: Expectation,
    no_control: Option<&'static str>,
    config: &'static [&'static str],
    since: KernelVersion,
    /// Modules that it needs where the kernel has them as modules.
    pub modules: &'static [&'static str],
    leg_timeout_ms: u64,
    /// What the namespaces' own probes do not cover.
    pub probe: Option<fn() -> Result<Probe, Trouble>>,
    /// The experiment.
    pub trial: Trial,
}

impl Scenario {
    /// A scenario that shows isolation, with a control, a limit of 10 s for each leg, and no needs yet.
    #[must_use]
    pub const fn new(id: &'static str, title: &'static str, trial: Trial) -> Self {
        Self {
            id,
            title,
            seed: "",
            source: "",
            namespaces: &[],
            expects: Expectation::Isolation,
            no_control: None,
            config: &[],
            since: KernelVersion::new(2, 6, 12),
            modules: &[],
            leg_timeout_ms: 10_000,
            probe: None,
            trial,
        }
    }

    /// The seed item that it shows, and where the behaviour is documented.
    #[must_use]
    pub const fn shows(mut self, seed: &'static str, source: &'static str) -> Self {
        self.seed = seed;
        self.source = source;
        self
    }

    /// The namespaces of the subject leg.
    #[must_use]
    pub const fn inside(mut self, namespaces: &'static [Namespace]) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// The config symbols that it needs, and the mainline version that brought the feature.
    #[must_use]
    pub const fn needs(mut self, config: &'static [&'static str], major: u32, minor: u32, patch: u32) -> Self {
        self.config = config;
        self.since = KernelVersion::new(major, minor, patch);
        self
    }

    /// Modules to load first, where the kernel has them as modules.
    #[must_use]
    pub const fn with_modules(mut self, modules: &'static [&'static str]) -> Self {
        self.modules = modules;
        self
    }

    /// A probe for what the namespaces' own probes do not cover.
    #[must_use]
    pub const fn probed_by(mut self, probe: fn() -> Result<Probe, Trouble>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Linux does not isolate this by design.
    #[must_use]
    pub const fn leaks_by_design(mut self) -> Self {
        self.expects = Expectation::Leak;
        self
    }

    /// No control is possible; `why` goes into every report.
    #[must_use]
    pub const fn without_control(mut self, why: &'static str) -> Self {
        self.no_control = Some(why);
        self
    }

    /// Whether the control leg runs.
    #[must_use]
    pub const fn has_control(&self) -> bool {
        self.no_control.is_none()
    }

    /// As the host sees it.
    ///
    /// # Errors
    /// [`BadScenarioId`] where the name is not of the form `area.name`.
    pub fn spec(&self) -> Result<ScenarioSpec, BadScenarioId> {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Ok(ScenarioSpec {
            id: self.id.parse()?,
            title: self.title.to_owned(),
            seed: self.seed.to_owned(),
            source: self.source.to_owned(),
            namespaces: self.namespaces.to_vec(),
            expects: self.expects,
            control: match self.no_control {
                None => Control::Runs,
                Some(why) => Control::Impossible { why: why.to_owned() },
            },
            requires: Requirement { config: owned(self.config), since: self.since },
            modules: owned(self.modules),
            leg_timeout_ms: self.leg_timeout_ms,
        })
    }
}

/// The scenario of that name.
pub fn find(id: &str) -> Option<&'static Scenario> {
    ALL.iter().copied().find(|scenario| scenario.id == id)
}
