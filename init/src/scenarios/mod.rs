//! The scenarios. Each scenario is an experiment: a function, the trial, runs twice in the same boot. As the subject it
//! runs in the scenario's sandbox and must be isolated; as the control it runs without the sandbox and must leak. The
//! trial reports what it observed; the host decides on the verdict.
//!
//! Several scenarios run in a boot, in any order, so a trial undoes its changes outside the sandbox with guards
//! ([`Undo`], [`support::Scratch`]), in both legs and however it ends. Only the expected leak counts as a leak, and
//! only the documented refusal as isolation; any other observation is [`Trouble`] ([`support::judge`]).
//!
//! To add a scenario, write its function and its const in a file of its area, and name the const in the area's `ALL`.

mod cgroup;
mod checkpoint;
mod cluster;
mod experiment;
mod file;
mod ipc;
mod lab;
mod leg;
mod mount;
mod namespace;
mod net;
mod pid;
mod pidfd;
mod process;
mod scenario;
mod security;
mod support;
mod syslog;
mod time;
mod unix;
mod user;
mod uts;

pub(crate) use crate::sandbox::undo::Undo;
pub(crate) use crate::sandbox::{Probe, Trouble};
pub(crate) use experiment::{Experiment, Finding, Trial};
pub(crate) use leg::{Mutation, Setting, run_leg};
pub(crate) use net::netlink;
pub(crate) use scenario::Scenario;
pub(crate) use support::{Scratch, note, pin_to};

/// The scenarios of each area, by the area's name.
const AREAS: &[&[&Scenario]] = &[
    cgroup::ALL,
    checkpoint::ALL,
    cluster::ALL,
    file::ALL,
    ipc::ALL,
    lab::ALL,
    mount::ALL,
    namespace::ALL,
    net::ALL,
    pid::ALL,
    pidfd::ALL,
    process::ALL,
    security::ALL,
    syslog::ALL,
    time::ALL,
    unix::ALL,
    user::ALL,
    uts::ALL,
];

/// The experiments of all scenarios. The compiler makes this table, so that the words of the scenarios are not in the guest's
/// program, of which they would be a tenth.
static EXPERIMENTS: [Experiment; count(AREAS)] = experiments();

const fn count(areas: &[&[&Scenario]]) -> usize {
    let (mut total, mut area) = (0, 0);
    while area < areas.len() {
        total += areas[area].len();
        area += 1;
    }
    total
}

const fn experiments() -> [Experiment; count(AREAS)] {
    let mut all = [uts::ALL[0].experiment; count(AREAS)];
    let (mut next, mut area) = (0, 0);
    while area < AREAS.len() {
        let mut index = 0;
        while index < AREAS[area].len() {
            all[next] = AREAS[area][index].experiment;
            next += 1;
            index += 1;
        }
        area += 1;
    }
    all
}

/// All scenarios, sorted by name.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    AREAS.iter().copied().flatten().copied()
}

/// The experiment of a scenario.
#[must_use]
pub(crate) fn find(id: &str) -> Option<&'static Experiment> {
    EXPERIMENTS.iter().find(|experiment| experiment.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use vmlab_protocol::catalogue::{Expectation, KernelVersion, Namespace};

    use super::*;

    #[test]
    fn the_list_is_sorted_and_names_each_scenario_once() {
        let ids: Vec<_> = all().map(|scenario| scenario.experiment.id).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(ids, sorted);
        assert!(find("uts.hostname").is_some_and(|experiment| experiment.id == "uts.hostname"));
        assert!(find("uts.nothing").is_none());
    }

    #[test]
    fn every_scenario_has_a_title_and_requirements() {
        for scenario in all() {
            let spec = scenario.spec().unwrap();
            for text in [&spec.title, &spec.source].into_iter().chain(&spec.items).chain(&spec.steps) {
                assert!(!text.is_empty(), "{}", spec.id);
            }
            assert!(spec.title.len() <= 90, "the title of {} does not fit on a line", spec.id);
            assert!(!spec.items.is_empty() && !spec.steps.is_empty(), "{}", spec.id);
            assert!(spec.leg_timeout_ms > 0, "{}", spec.id);
            assert!(spec.requires.config.iter().all(|symbol| symbol.starts_with("CONFIG_")), "{}", spec.id);
        }
    }

    /// A scenario's requirements include those of its sandbox, so that the reason for a skip names the right symbol.
    #[test]
    fn requirements_include_those_of_the_sandbox() {
        for scenario in all() {
            let spec = scenario.spec().unwrap();
            let mut symbols = Vec::new();
            for namespace in spec.namespaces.iter().chain(&spec.control_namespaces) {
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
        for scenario in all() {
            *areas.entry(scenario.spec().unwrap().id.area().to_owned()).or_default() += 1;
        }
        for area in ["cgroup", "ipc", "mount", "net", "pid", "time", "user", "uts"] {
            assert!(areas.get(area).is_some_and(|&count| count >= 2), "{area}: {areas:?}");
        }
        for kind in ["ipc.sysv-", "ipc.posix-"] {
            assert!(all().any(|scenario| scenario.experiment.id.starts_with(kind)), "{kind}");
        }
    }

    /// What makes the difference between the legs is a namespace, an offset, a limit, or a mechanism that has a name.
    #[test]
    fn subject_and_control_differ_in_something_that_has_a_name() {
        for scenario in all() {
            let control = scenario.experiment.control_sandbox();
            assert_ne!(scenario.experiment.sandbox, control, "{} does the same in both legs", scenario.experiment.id);
            let spec = scenario.spec().unwrap();
            let more = spec.namespaces.iter().any(|namespace| !spec.control_namespaces.contains(namespace));
            assert!(
                more || spec.mechanism.is_some() || scenario.experiment.sandbox.has_limits(),
                "{}: the legs differ in nothing that has a name",
                scenario.experiment.id
            );
        }
    }

    /// Both legs of a documented leak find the same, so only the namespaces tell them apart.
    #[test]
    fn a_leak_is_shown_in_new_namespaces() {
        for scenario in all() {
            let spec = scenario.spec().unwrap();
            let leaks = spec.expects == Expectation::Leak;
            assert!(!leaks || !spec.namespaces.is_empty() && spec.control_namespaces.is_empty(), "{}", spec.id);
        }
    }
}
