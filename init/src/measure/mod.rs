//! The measuring scenarios: what namespaces and cgroups cost. The host runs them in guests of their own, on a machine whose
//! clock counts instructions if the machine is emulated (`vmlab run --measure`).
//!
//! A measuring scenario has a probe and a subject. The subject measures operations, each together with its baseline
//! ([`meter`]); there is no verdict of isolation.

mod at_once;
mod ballast;
mod cache_lines;
mod cgroups;
mod counts;
mod inside;
mod kinds;
mod links;
mod member;
mod meter;
mod mounts;
mod namespaces;
mod network;
mod syscalls;

use std::path::Path;

use vmlab_protocol::catalogue::{
    BadScenarioId, Control, Expectation, KernelVersion, MachineNeed, Requirement, ScenarioSpec,
};
use vmlab_protocol::message::{Leg, LegOutcome};

use crate::modules;
use crate::sandbox::undo;
use crate::scenarios::{Probe, Trouble};
use meter::Meter;

/// The time limit of each leg, in ms of the guest's clock, most of which it is idle. A guest that counts instructions skips that
/// time, and executes some 10^8 instructions in a second.
const LEG_TIMEOUT_MS: u64 = 1_200_000;

/// A measuring scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    /// `measure.NAME`.
    pub(crate) id: &'static str,
    title: &'static str,
    /// What is measured, in a sentence each.
    steps: &'static [&'static str],
    source: &'static str,
    config: &'static [&'static str],
    since: (u32, u32, u32),
    modules: &'static [&'static str],
    /// The number of CPUs that it needs where the clock does not count instructions.
    cpus: u32,
    /// Whether the kernel has what is measured.
    probe: fn() -> Result<Probe, Trouble>,
    measure: fn(&mut Meter) -> Result<(), Trouble>,
}

/// The measuring scenarios, sorted by name.
const ALL: &[&Measure] = &[
    &at_once::AT_ONCE,
    &cache_lines::CACHE_LINES,
    &cgroups::CGROUPS,
    &counts::COUNTS,
    &namespaces::CREATE,
    &namespaces::DESTROY,
    &namespaces::ENTER,
    &mounts::MOUNTS,
    &network::NETWORK,
    &syscalls::SYSCALLS,
];

pub(crate) fn all() -> impl Iterator<Item = &'static Measure> {
    ALL.iter().copied()
}

#[must_use]
pub(crate) fn find(id: &str) -> Option<&'static Measure> {
    all().find(|measure| measure.id == id)
}

impl Measure {
    /// The description for the host.
    ///
    /// # Errors
    /// [`BadScenarioId`] if the name is not of the form `area.name`.
    pub(crate) fn spec(&self) -> Result<ScenarioSpec, BadScenarioId> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let (major, minor, patch) = self.since;
        Ok(ScenarioSpec {
            id: self.id.parse()?,
            title: self.title.to_owned(),
            items: vec!["biederman-6".to_owned()],
            steps: owned(self.steps),
            source: self.source.to_owned(),
            namespaces: Vec::new(),
            expects: Expectation::Figures,
            isolates_since: None,
            control_namespaces: Vec::new(),
            mechanism: None,
            control: Control::Baseline,
            requires: Requirement {
                config: owned(self.config),
                since: KernelVersion::new(major, minor, patch),
                backports: Vec::new(),
            },
            machine: MachineNeed { cpus: self.cpus, measuring: true, peer: false },
            modules: owned(self.modules),
            leg_timeout_ms: LEG_TIMEOUT_MS,
            allows: Vec::new(),
        })
    }

    /// Runs a leg in the calling process.
    pub(crate) fn run_leg(&self, leg: Leg) -> LegOutcome {
        let outcome = match leg {
            Leg::Probe => self.load_and_probe().map(|probe| match probe {
                Probe::Available => LegOutcome::Available,
                Probe::Missing(evidence) => LegOutcome::Missing { evidence },
            }),
            Leg::Subject => self.measure(),
            Leg::Control => Err(Trouble::new("a measuring scenario has no control leg")),
        };
        undo::check_undone(outcome).unwrap_or_else(|trouble| LegOutcome::Failed { detail: trouble.into_text() })
    }

    fn load_and_probe(&self) -> Result<Probe, Trouble> {
        for name in self.modules {
            let (_, problems) = modules::load_list(Path::new(&format!("/modules/for/{name}.list")));
            if let Some(problem) = problems.first() {
                return Err(Trouble::new(problem));
            }
        }
        (self.probe)()
    }

    fn measure(&self) -> Result<LegOutcome, Trouble> {
        let mut meter = Meter::new()?;
        (self.measure)(&mut meter)?;
        Ok(meter.into_outcome())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_sorted_and_complete() {
        let ids: Vec<_> = all().map(|measure| measure.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        for measure in all() {
            let spec = measure.spec().unwrap();
            assert!(spec.machine.measuring && spec.id.area() == "measure", "{}", spec.id);
            assert!(!spec.title.is_empty() && spec.title.len() <= 90 && !spec.steps.is_empty(), "{}", spec.id);
            assert!(find(measure.id).is_some());
        }
    }
}
