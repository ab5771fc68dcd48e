//! The scenarios. Each scenario is an experiment: a function, the trial, runs twice in the same boot. As the subject it
//! runs in the scenario's sandbox and must be isolated; as the control it runs without the sandbox and must leak. The
//! trial reports what it observed; the host decides on the verdict.
//!
//! Several scenarios run in a boot, in any order, so a trial undoes its changes outside the sandbox with guards
//! ([`Undo`], [`support::Scratch`]), in both legs and however it ends. Only the expected leak counts as a leak, and
//! only the documented refusal as isolation; any other observation is [`Trouble`] ([`support::judge`]).
//!
//! To add a scenario, write its function and its const in its area's file, and name the const in [`ALL`].

mod cgroup;
mod ipc;
mod lab;
mod leg;
mod mount;
mod net;
mod netlink;
mod pid;
mod support;
mod syslog;
mod time;
mod user;
mod uts;

use vmlab_protocol::catalogue::{
    Allowance, BadScenarioId, Control, Expectation, KernelVersion, Namespace, Requirement, ScenarioSpec,
};

use crate::sandbox::{ClockOffset, Limit, Sandbox};

pub(crate) use crate::sandbox::undo::Undo;
pub(crate) use crate::sandbox::{Probe, Trouble};
pub(crate) use leg::run_leg;

/// All scenarios, sorted by name.
pub(crate) const ALL: &[&Scenario] = &[
    &cgroup::CPU_MAX,
    &cgroup::INIT_VIEW,
    &cgroup::MEMORY_MAX,
    &cgroup::MOUNT,
    &cgroup::PIDS_MAX,
    &cgroup::VIEW,
    &ipc::POSIX_MQ,
    &ipc::SYSV_MSG,
    &ipc::SYSV_SEM,
    &ipc::SYSV_SHM,
    &lab::FRESH,
    &mount::BIND_READONLY,
    &mount::PRIVATE,
    &mount::PROPAGATION,
    &mount::SETATTR,
    &mount::UMOUNT,
    &net::ABSTRACT_UNIX,
    &net::DEVICES,
    &net::PATHNAME_UNIX,
    &net::PORT,
    &net::SYSCTL,
    &pid::INIT,
    &pid::KILL_OUTER,
    &pid::NSPID,
    &pid::ORPHAN,
    &pid::PROC,
    &pid::REBOOT,
    &syslog::KMSG_WRITE,
    &time::BOOTTIME,
    &time::MONOTONIC,
    &time::REALTIME,
    &time::UPTIME,
    &user::CAPABILITIES,
    &user::CHOWN_UNMAPPED,
    &user::FILE_OWNER,
    &user::OVERFLOW_UID,
    &user::SIGNAL,
    &uts::DOMAINNAME,
    &uts::HOSTNAME,
    &uts::SYSCTL,
];

#[must_use]
pub(crate) fn find(id: &str) -> Option<&'static Scenario> {
    ALL.iter().copied().find(|scenario| scenario.id == id)
}

/// The observation of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The effect was not visible outside the sandbox, or the limit applied.
    Isolated(String),
    /// The effect was visible outside the sandbox, or no limit applied.
    Leaked(String),
}

/// The experiment: acts inside the sandbox and observes the effect outside.
pub(crate) type Trial = fn(&Sandbox) -> Result<Finding, Trouble>;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// `area.name`.
    pub(crate) id: &'static str,
    title: &'static str,
    seed: &'static str,
    source: &'static str,
    /// The sandbox of the subject; the control gets its [`Sandbox::control`].
    pub(crate) sandbox: Sandbox,
    expects: Expectation,
    no_control: Option<&'static str>,
    config: &'static [&'static str],
    since: KernelVersion,
    /// Modules to load before the first leg, if the kernel has them as modules.
    pub(crate) modules: &'static [&'static str],
    leg_timeout_ms: u64,
    /// Pattern and reason.
    allows: &'static [(&'static str, &'static str)],
    /// A probe for features that the sandbox's own probe does not cover.
    pub(crate) probe: Option<fn() -> Result<Probe, Trouble>>,
    pub(crate) trial: Trial,
}

impl Scenario {
    /// A scenario that shows isolation, with a control, a time limit of 10 s for each leg, and no requirements.
    #[must_use]
    pub(crate) const fn new(id: &'static str, title: &'static str, trial: Trial) -> Self {
        Self {
            id,
            title,
            seed: "",
            source: "",
            sandbox: Sandbox::none(),
            expects: Expectation::Isolation,
            no_control: None,
            config: &[],
            since: KernelVersion::new(2, 6, 12),
            modules: &[],
            leg_timeout_ms: 10_000,
            allows: &[],
            probe: None,
            trial,
        }
    }

    /// The item in the feature list, and the document that describes the behaviour.
    #[must_use]
    pub(crate) const fn shows(mut self, seed: &'static str, source: &'static str) -> Self {
        self.seed = seed;
        self.source = source;
        self
    }

    /// Sets the namespaces of the subject.
    #[must_use]
    pub(crate) const fn inside(mut self, namespaces: &'static [Namespace]) -> Self {
        self.sandbox = self.sandbox.with_namespaces(namespaces);
        self
    }

    /// Sets the clock offsets of the subject's time namespace.
    #[must_use]
    pub(crate) const fn with_clock_offsets(mut self, offsets: &'static [ClockOffset]) -> Self {
        self.sandbox = self.sandbox.with_clock_offsets(offsets);
        self
    }

    /// Runs each leg in its own cgroup: the subject's with these limits, the control's without.
    #[must_use]
    pub(crate) const fn in_cgroup(mut self, limits: &'static [Limit]) -> Self {
        self.sandbox = self.sandbox.with_cgroup(limits);
        self
    }

    /// Sets the required config symbols and the first mainline version that has the feature.
    #[must_use]
    pub(crate) const fn needs(mut self, config: &'static [&'static str], major: u32, minor: u32, patch: u32) -> Self {
        self.config = config;
        self.since = KernelVersion::new(major, minor, patch);
        self
    }

    /// Sets the modules to load before the first leg, if the kernel has them as modules.
    #[must_use]
    pub(crate) const fn with_modules(mut self, modules: &'static [&'static str]) -> Self {
        self.modules = modules;
        self
    }

    /// Adds a probe for features that the sandbox's own probe does not cover.
    #[must_use]
    pub(crate) const fn probed_by(mut self, probe: fn() -> Result<Probe, Trouble>) -> Self {
        self.probe = Some(probe);
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
        self.expects = Expectation::Leak;
        self
    }

    /// Declares that no control is possible; `why` is in every report.
    #[must_use]
    pub(crate) const fn without_control(mut self, why: &'static str) -> Self {
        self.no_control = Some(why);
        self
    }

    /// Sets the time limit of each leg, in ms, at the speed of real hardware.
    #[must_use]
    pub(crate) const fn within(mut self, leg_timeout_ms: u64) -> Self {
        self.leg_timeout_ms = leg_timeout_ms;
        self
    }

    #[must_use]
    pub(crate) const fn has_control(&self) -> bool {
        self.no_control.is_none()
    }

    /// The description for the host.
    ///
    /// # Errors
    /// [`BadScenarioId`] if the name is not of the form `area.name`.
    pub(crate) fn spec(&self) -> Result<ScenarioSpec, BadScenarioId> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Ok(ScenarioSpec {
            id: self.id.parse()?,
            title: self.title.to_owned(),
            seed: self.seed.to_owned(),
            source: self.source.to_owned(),
            namespaces: self.sandbox.namespaces().to_vec(),
            expects: self.expects,
            control: match self.no_control {
                None => Control::Runs,
                Some(why) => Control::Impossible { why: why.to_owned() },
            },
            requires: Requirement { config: owned(self.config), since: self.since },
            modules: owned(self.modules),
            leg_timeout_ms: self.leg_timeout_ms,
            allows: self
                .allows
                .iter()
                .map(|&(pattern, reason)| Allowance { pattern: pattern.to_owned(), reason: reason.to_owned() })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_list_is_sorted_and_names_each_scenario_once() {
        let ids: Vec<_> = ALL.iter().map(|scenario| scenario.id).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(ids, sorted);
        assert!(find("uts.hostname").is_some_and(|scenario| scenario.id == "uts.hostname"));
        assert!(find("uts.nothing").is_none());
    }

    #[test]
    fn every_scenario_has_a_title_and_requirements() {
        for scenario in ALL {
            let spec = scenario.spec().unwrap();
            for text in [&spec.title, &spec.seed, &spec.source] {
                assert!(!text.is_empty(), "{}", spec.id);
            }
            assert!(spec.title.len() <= 90, "the title of {} does not fit on a line", spec.id);
            assert!(spec.leg_timeout_ms > 0, "{}", spec.id);
            assert!(spec.requires.config.iter().all(|symbol| symbol.starts_with("CONFIG_")), "{}", spec.id);
        }
    }

    /// A scenario's requirements include those of its sandbox, so that the reason for a skip names the right symbol.
    #[test]
    fn requirements_include_those_of_the_sandbox() {
        for scenario in ALL {
            let spec = scenario.spec().unwrap();
            let mut symbols = Vec::new();
            for namespace in &spec.namespaces {
                let (symbol, since) = match namespace {
                    Namespace::User => ("CONFIG_USER_NS", KernelVersion::new(3, 8, 0)),
                    // These namespaces have no config symbol of their own.
                    Namespace::Cgroup => ("CONFIG_CGROUPS", KernelVersion::new(4, 6, 0)),
                    Namespace::Mount => ("", KernelVersion::new(2, 4, 19)),
                    Namespace::Ipc => ("CONFIG_IPC_NS", KernelVersion::new(2, 6, 19)),
                    Namespace::Uts => ("CONFIG_UTS_NS", KernelVersion::new(2, 6, 19)),
                    Namespace::Net => ("CONFIG_NET_NS", KernelVersion::new(2, 6, 24)),
                    Namespace::Time => ("CONFIG_TIME_NS", KernelVersion::new(5, 6, 0)),
                    Namespace::Pid => ("CONFIG_PID_NS", KernelVersion::new(2, 6, 24)),
                };
                symbols.push(symbol);
                assert!(spec.requires.since >= since, "{} requires a version older than {namespace:?}", spec.id);
            }
            for symbol in symbols.into_iter().filter(|symbol| !symbol.is_empty()) {
                assert!(spec.requires.config.iter().any(|config| config == symbol), "{} needs {symbol}", spec.id);
            }
        }
    }

    #[test]
    fn every_area_has_at_least_two_scenarios() {
        let mut areas = BTreeMap::<String, u32>::new();
        for scenario in ALL {
            *areas.entry(scenario.spec().unwrap().id.area().to_owned()).or_default() += 1;
        }
        for area in ["cgroup", "ipc", "mount", "net", "pid", "time", "user", "uts"] {
            assert!(areas.get(area).is_some_and(|&count| count >= 2), "{area}: {areas:?}");
        }
        for kind in ["ipc.sysv-", "ipc.posix-"] {
            assert!(ALL.iter().any(|scenario| scenario.id.starts_with(kind)), "{kind}");
        }
    }

    #[test]
    fn subject_and_control_have_different_sandboxes() {
        // The sandbox of `lab.fresh-guest` is the guest itself.
        for scenario in ALL.iter().filter(|scenario| scenario.id != lab::FRESH.id) {
            let control = scenario.sandbox.control();
            assert!(control.namespaces().is_empty(), "{}", scenario.id);
            assert_ne!(scenario.sandbox, control, "{} does the same in both legs", scenario.id);
        }
    }
}
