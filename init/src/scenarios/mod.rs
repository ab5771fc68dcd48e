//! The scenarios. Each is an experiment: one function, the trial, which is run twice in the same boot — as the subject,
//! in the sandbox that the scenario names, and as the control, without it. The subject must be isolated and the control
//! must leak. What the function sees it says; what that is worth is for the host to decide.
//!
//! A trial puts back what it changed outside its sandbox, by guards ([`Undo`], [`support::Scratch`]), in both legs and
//! however it ends: several scenarios may run in one boot, in any order. It calls a leak only the leak it looks for and
//! isolation only the refusal that is documented; all else is [`Trouble`] ([`support::judge`]).
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

pub use crate::sandbox::undo::Undo;
pub use crate::sandbox::{Probe, Trouble};
pub use leg::run_leg;

/// All scenarios, sorted by name.
pub const ALL: &[&Scenario] = &[
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

/// The scenario of this name.
#[must_use]
pub fn find(id: &str) -> Option<&'static Scenario> {
    ALL.iter().copied().find(|scenario| scenario.id == id)
}

/// What a trial saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The sandbox held: what was done did not show beyond it, or its limit applied.
    Isolated(String),
    /// What was done showed beyond the sandbox, or no limit applied.
    Leaked(String),
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
    /// The subject's; the control gets [`Sandbox::control`] of it.
    pub sandbox: Sandbox,
    expects: Expectation,
    no_control: Option<&'static str>,
    config: &'static [&'static str],
    since: KernelVersion,
    /// Modules that it needs where the kernel has them as modules.
    pub modules: &'static [&'static str],
    leg_timeout_ms: u64,
    /// Pattern and reason.
    allows: &'static [(&'static str, &'static str)],
    /// What the sandbox's own probe does not cover.
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

    /// The seed item that it shows, and where the behaviour is documented.
    #[must_use]
    pub const fn shows(mut self, seed: &'static str, source: &'static str) -> Self {
        self.seed = seed;
        self.source = source;
        self
    }

    /// The namespaces of the subject.
    #[must_use]
    pub const fn inside(mut self, namespaces: &'static [Namespace]) -> Self {
        self.sandbox = self.sandbox.with_namespaces(namespaces);
        self
    }

    /// The clock offsets of the subject's time namespace.
    #[must_use]
    pub const fn with_clock_offsets(mut self, offsets: &'static [ClockOffset]) -> Self {
        self.sandbox = self.sandbox.with_clock_offsets(offsets);
        self
    }

    /// Both legs run in a cgroup of their own, the subject's with these limits, the control's without.
    #[must_use]
    pub const fn in_cgroup(mut self, limits: &'static [Limit]) -> Self {
        self.sandbox = self.sandbox.with_cgroup(limits);
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

    /// A probe for what the sandbox's own probe does not cover.
    #[must_use]
    pub const fn probed_by(mut self, probe: fn() -> Result<Probe, Trouble>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// What the kernel may report about itself meanwhile: words of the report's headline, and why that is fine.
    #[must_use]
    pub const fn allowing(mut self, allows: &'static [(&'static str, &'static str)]) -> Self {
        self.allows = allows;
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

    /// With a limit of each leg other than the usual one, in ms, at the speed of real hardware.
    #[must_use]
    pub const fn within(mut self, leg_timeout_ms: u64) -> Self {
        self.leg_timeout_ms = leg_timeout_ms;
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
    fn every_scenario_says_what_it_is() {
        for scenario in ALL {
            let spec = scenario.spec().unwrap();
            for text in [&spec.title, &spec.seed, &spec.source] {
                assert!(!text.is_empty(), "{}", spec.id);
            }
            assert!(spec.title.len() <= 90, "the title of {} does not fit a line", spec.id);
            assert!(spec.leg_timeout_ms > 0, "{}", spec.id);
            assert!(spec.requires.config.iter().all(|symbol| symbol.starts_with("CONFIG_")), "{}", spec.id);
        }
    }

    /// What a scenario needs names what its sandbox needs, so that a skip is explained by the right symbol.
    #[test]
    fn needs_cover_the_sandbox() {
        for scenario in ALL {
            let spec = scenario.spec().unwrap();
            let mut symbols = Vec::new();
            for namespace in &spec.namespaces {
                let (symbol, since) = match namespace {
                    Namespace::User => ("CONFIG_USER_NS", KernelVersion::new(3, 8, 0)),
                    // Neither has a symbol of its own.
                    Namespace::Cgroup => ("CONFIG_CGROUPS", KernelVersion::new(4, 6, 0)),
                    Namespace::Mount => ("", KernelVersion::new(2, 4, 19)),
                    Namespace::Ipc => ("CONFIG_IPC_NS", KernelVersion::new(2, 6, 19)),
                    Namespace::Uts => ("CONFIG_UTS_NS", KernelVersion::new(2, 6, 19)),
                    Namespace::Net => ("CONFIG_NET_NS", KernelVersion::new(2, 6, 24)),
                    Namespace::Time => ("CONFIG_TIME_NS", KernelVersion::new(5, 6, 0)),
                    Namespace::Pid => ("CONFIG_PID_NS", KernelVersion::new(2, 6, 24)),
                };
                symbols.push(symbol);
                assert!(spec.requires.since >= since, "{} is younger than {namespace:?}", spec.id);
            }
            for symbol in symbols.into_iter().filter(|symbol| !symbol.is_empty()) {
                assert!(spec.requires.config.iter().any(|config| config == symbol), "{} needs {symbol}", spec.id);
            }
        }
    }

    #[test]
    fn every_area_has_at_least_two() {
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
    fn a_sandbox_is_more_than_its_control() {
        // The sandbox of `lab.fresh-guest` is the guest itself.
        for scenario in ALL.iter().filter(|scenario| scenario.id != lab::FRESH.id) {
            let control = scenario.sandbox.control();
            assert!(control.namespaces().is_empty(), "{}", scenario.id);
            assert_ne!(scenario.sandbox, control, "{} does the same in both legs", scenario.id);
        }
    }
}
