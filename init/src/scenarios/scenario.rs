//! A scenario: its description for the host, and the experiment.

use vmlab_protocol::catalogue::{
    Allowance, BadScenarioId, Control, Expectation, MachineNeed, Namespace, Requirement, ScenarioSpec,
};

use super::experiment::{Experiment, Trial, Version, number, numbers};
use super::{Probe, Trouble};
use crate::sandbox::{ClockOffset, Limit};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// The part that a guest has.
    pub(crate) experiment: Experiment,
    title: &'static str,
    items: &'static [&'static str],
    steps: &'static [&'static str],
    source: &'static str,
    /// What the subject applies and the control does not, besides the sandbox.
    mechanism: Option<&'static str>,
    config: &'static [&'static str],
    since: Version,
    backports: &'static [Version],
    in_two_guests: bool,
    cpus: u32,
    leg_timeout_ms: u64,
    /// Pattern and reason.
    allows: &'static [(&'static str, &'static str)],
}

impl Scenario {
    /// A scenario that shows isolation, with a control, a time limit of 10 s for each leg, and no requirements.
    #[must_use]
    pub(crate) const fn new(id: &'static str, title: &'static str, trial: Trial) -> Self {
        Self {
            experiment: Experiment::new(id, trial),
            title,
            items: &[],
            steps: &[],
            source: "",
            mechanism: None,
            config: &[],
            since: (2, 6, 12),
            backports: &[],
            in_two_guests: false,
            cpus: 1,
            leg_timeout_ms: 10_000,
            allows: &[],
        }
    }

    /// The items of the feature list, and the document that describes the behaviour.
    #[must_use]
    pub(crate) const fn shows(mut self, items: &'static [&'static str], source: &'static str) -> Self {
        self.items = items;
        self.source = source;
        self
    }

    /// What the trial does, in order, in a sentence each.
    #[must_use]
    pub(crate) const fn steps(mut self, steps: &'static [&'static str]) -> Self {
        self.steps = steps;
        self
    }

    /// Sets the namespaces of the subject.
    #[must_use]
    pub(crate) const fn inside(mut self, namespaces: &'static [Namespace]) -> Self {
        self.experiment.sandbox = self.experiment.sandbox.with_namespaces(namespaces);
        self
    }

    /// Sets the namespaces of the control, where the sandbox without any namespace would compare too much.
    #[must_use]
    pub(crate) const fn control_inside(mut self, namespaces: &'static [Namespace]) -> Self {
        self.experiment.control_namespaces = namespaces;
        self
    }

    /// Names what makes the difference, where that is no namespace, offset or limit: a flag, a filter, a system call. The
    /// trial applies it if [`Sandbox::applies`].
    #[must_use]
    pub(crate) const fn by_means_of(mut self, mechanism: &'static str) -> Self {
        self.mechanism = Some(mechanism);
        self
    }

    /// Sets the clock offsets of the subject's time namespace.
    #[must_use]
    pub(crate) const fn with_clock_offsets(mut self, offsets: &'static [ClockOffset]) -> Self {
        self.experiment.sandbox = self.experiment.sandbox.with_clock_offsets(offsets);
        self
    }

    /// Runs each leg in its own cgroup: the subject's with these limits, the control's without.
    #[must_use]
    pub(crate) const fn in_cgroup(mut self, limits: &'static [Limit]) -> Self {
        self.experiment.sandbox = self.experiment.sandbox.with_cgroup(limits);
        self
    }

    /// Sets the required config symbols and the first mainline version that has the feature.
    #[must_use]
    pub(crate) const fn needs(mut self, config: &'static [&'static str], major: u32, minor: u32, patch: u32) -> Self {
        self.config = config;
        self.since = (major, minor, patch);
        self
    }

    /// Sets the first versions of older stable series that have the feature.
    #[must_use]
    pub(crate) const fn backported(mut self, versions: &'static [Version]) -> Self {
        self.backports = versions;
        self
    }

    /// Has the scenario run in two guests at the same time, whose network cards are linked to each other. Its trial learns which of
    /// them its guest is ([`Sandbox::side`]).
    #[must_use]
    pub(crate) const fn in_two_guests(mut self) -> Self {
        self.in_two_guests = true;
        self
    }

    /// Sets the least number of CPUs. The host gives the scenario a guest that has them.
    #[must_use]
    pub(crate) const fn on_cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Sets the modules to load before the first leg, if the kernel has them as modules.
    #[must_use]
    pub(crate) const fn with_modules(mut self, modules: &'static [&'static str]) -> Self {
        self.experiment.modules = modules;
        self
    }

    /// Adds a probe for features that the sandbox's own probe does not cover.
    #[must_use]
    pub(crate) const fn probed_by(mut self, probe: fn() -> Result<Probe, Trouble>) -> Self {
        self.experiment.probe = Some(probe);
        self
    }

    /// Allows kernel reports: text that the report's headline contains, and the reason.
    #[must_use]
    pub(crate) const fn allowing(mut self, allows: &'static [(&'static str, &'static str)]) -> Self {
        self.allows = allows;
        self
    }

    /// Declares that Linux does not isolate this by design.
    #[must_use]
    pub(crate) const fn leaks_by_design(mut self) -> Self {
        self.experiment.expects = Expectation::Leak;
        self
    }

    /// Declares that older kernels than this leak.
    #[must_use]
    pub(crate) const fn isolates_since(mut self, mainline: Version, backports: &'static [Version]) -> Self {
        self.experiment.isolates_since = Some(mainline);
        self.experiment.isolation_backports = backports;
        self
    }

    /// Declares that no control is possible; `why` is in every report.
    #[must_use]
    pub(crate) const fn without_control(mut self, why: &'static str) -> Self {
        self.experiment.no_control = Some(why);
        self
    }

    /// Sets the time limit of each leg, in ms, at the speed of real hardware.
    #[must_use]
    pub(crate) const fn within(mut self, leg_timeout_ms: u64) -> Self {
        self.leg_timeout_ms = leg_timeout_ms;
        self
    }

    /// The description for the host.
    ///
    /// # Errors
    /// [`BadScenarioId`] if the name is not of the form `area.name`.
    pub(crate) fn spec(&self) -> Result<ScenarioSpec, BadScenarioId> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Ok(ScenarioSpec {
            id: self.experiment.id.parse()?,
            title: self.title.to_owned(),
            items: owned(self.items),
            steps: owned(self.steps),
            source: self.source.to_owned(),
            namespaces: self.experiment.sandbox.namespaces().to_vec(),
            expects: self.experiment.expects,
            isolates_since: self.experiment.isolating(),
            control_namespaces: self.experiment.control_namespaces.to_vec(),
            mechanism: self.mechanism.map(str::to_owned),
            control: match self.experiment.no_control {
                None => Control::Runs,
                Some(why) => Control::Impossible { why: why.to_owned() },
            },
            requires: Requirement {
                config: owned(self.config),
                since: number(self.since),
                backports: numbers(self.backports),
            },
            machine: MachineNeed { cpus: self.cpus, measuring: false, peer: self.in_two_guests },
            modules: owned(self.experiment.modules),
            leg_timeout_ms: self.leg_timeout_ms,
            allows: self
                .allows
                .iter()
                .map(|&(pattern, reason)| Allowance { pattern: pattern.to_owned(), reason: reason.to_owned() })
                .collect(),
        })
    }
}
