//! The results of one or more runs, by kernel and scenario. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use vmlab_events::clean;
use vmlab_events::event::{JobReport, LabEvent, Stamped};
use vmlab_events::job::{Job, JobSpec};
use vmlab_events::verdict::{Class, SkipReason, Verdict};
use vmlab_protocol::catalogue::{KernelVersion, ScenarioId, ScenarioSpec};
use vmlab_protocol::message::{Leg, LegOutcome};

/// The most characters of a guest's text that are shown.
const MAX_TEXT: usize = 300;

/// A kernel: a column of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// The target's name, clean.
    pub target: String,
    /// `uname -r`, clean; empty if no guest told it.
    pub release: String,
    /// A short name that no other column has: `6.12`.
    pub short: String,
}

impl Kernel {
    /// The release as a number, if it is known.
    #[must_use]
    pub fn version(&self) -> Option<KernelVersion> {
        self.release.parse().ok()
    }
}

/// What a scenario came to on a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "until")]
pub enum State {
    /// The check failed, or the kernel broke.
    Failed,
    /// The guest did not boot or was lost.
    NoResult,
    /// Linux does not isolate this.
    LeaksByDesign,
    /// Linux isolates this since that version.
    LeaksBefore(KernelVersion),
    /// It passed.
    Works,
    /// The kernel does not have what the scenario needs.
    Skipped,
    /// No record has a verdict.
    NotRun,
}

/// The result of a scenario on a kernel, with clean texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The result on this kernel.
    #[serde(flatten)]
    pub state: State,
    /// The verdict's label; empty if no record has a verdict.
    pub verdict: &'static str,
    /// What was observed, or why there is no observation.
    pub observed: String,
    /// Why it was skipped, in a few words; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lacks: String,
    /// All that the legs told, to look for expected values.
    #[serde(skip)]
    pub evidence: String,
}

impl Outcome {
    const NOT_RUN: Self = Self {
        state: State::NotRun,
        verdict: "",
        observed: String::new(),
        lacks: String::new(),
        evidence: String::new(),
    };
}

/// The results of runs.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// The names of the runs, in the order in which they were added.
    pub runs: Vec<String>,
    /// The columns, in the order in which they were added.
    pub kernels: Vec<Kernel>,
    /// The scenarios as the runs knew them.
    pub specs: BTreeMap<ScenarioId, ScenarioSpec>,
    outcomes: BTreeMap<(usize, ScenarioId), Outcome>,
}

impl Results {
    /// Adds a run. A kernel that is known already, by target and release, keeps its column, and results of this run replace
    /// earlier ones.
    pub fn add(&mut self, events: &[Stamped]) {
        let mut releases = BTreeMap::new();
        let mut targets = Vec::new();
        let mut specs = BTreeMap::new();
        for stamped in events {
            match &stamped.event {
                LabEvent::RunStarted { run_id, targets: announced, jobs, .. } => {
                    self.runs.push(clean::line(run_id));
                    targets.clone_from(announced);
                    specs.extend(jobs.iter().filter_map(|job| match job {
                        JobSpec::Scenario(spec) => Some((spec.id.clone(), (**spec).clone())),
                        JobSpec::Kunit(_) | JobSpec::Command(_) => None,
                    }));
                }
                LabEvent::KernelReady { target, release, .. } => {
                    releases.insert(target.clone(), clean::line(release));
                }
                _ => {}
            }
        }
        let mut columns = BTreeMap::new();
        for target in targets {
            let release = releases.remove(&target).unwrap_or_default();
            columns.insert(target.clone(), self.column(&clean::line(target.as_str()), release));
        }
        for stamped in events {
            let LabEvent::JobFinished(report) = &stamped.event else { continue };
            let Job::Scenario(id) = &report.job else { continue };
            if let (Some(column), Some(spec)) = (columns.get(&report.target), specs.get(id))
                && !matches!(report.verdict, Verdict::NotRun { .. })
            {
                self.outcomes.insert((*column, id.clone()), outcome(report, spec));
            }
        }
        self.specs.extend(specs);
        name_columns(&mut self.kernels);
    }

    fn column(&mut self, target: &str, release: String) -> usize {
        let known = self.kernels.iter().position(|kernel| kernel.target == target && kernel.release == release);
        known.unwrap_or_else(|| {
            self.kernels.push(Kernel { target: target.to_owned(), release, short: String::new() });
            self.kernels.len() - 1
        })
    }

    /// What a scenario came to on the kernel of a column.
    #[must_use]
    pub fn outcome(&self, kernel: usize, scenario: &ScenarioId) -> &Outcome {
        const NOT_RUN: &Outcome = &Outcome::NOT_RUN;
        self.outcomes.get(&(kernel, scenario.clone())).unwrap_or(NOT_RUN)
    }

    /// Whether any kernel has a result of the scenario.
    #[must_use]
    pub fn has(&self, scenario: &ScenarioId) -> bool {
        (0..self.kernels.len()).any(|kernel| self.outcome(kernel, scenario).state != State::NotRun)
    }
}

/// Gives each column its short name: the series, with a letter where several kernels are of one series.
fn name_columns(kernels: &mut [Kernel]) {
    let base = |kernel: &Kernel| kernel.version().map(|version| format!("{}.{}", version.major, version.minor));
    let bases: Vec<_> = kernels.iter().map(|kernel| base(kernel).unwrap_or_else(|| "?".to_owned())).collect();
    for (at, kernel) in kernels.iter_mut().enumerate() {
        let same = |range: &[String]| range.iter().filter(|other| **other == bases[at]).count();
        let letter = char::from(b'a' + u8::try_from(same(&bases[..at]) % 26).unwrap_or(0));
        kernel.short = if same(&bases) > 1 { format!("{}{letter}", bases[at]) } else { bases[at].clone() };
    }
}

fn outcome(report: &JobReport, spec: &ScenarioSpec) -> Outcome {
    let verdict = &report.verdict;
    let (state, lacks) = match verdict {
        Verdict::Leaks { .. } => (leak(spec), String::new()),
        Verdict::Skipped { reason } => (State::Skipped, lacks(reason)),
        Verdict::NotRun { .. } => (State::NotRun, String::new()),
        _ => match verdict.class() {
            Class::Good => (State::Works, String::new()),
            Class::Lab => (State::NoResult, String::new()),
            Class::NotRun => (State::NotRun, String::new()),
            _ => (State::Failed, String::new()),
        },
    };
    let of_leg =
        |wanted: Leg| report.legs.iter().find(|leg| leg.leg == wanted).and_then(|leg| reported_by(&leg.outcome));
    let detail = verdict.detail();
    let observed = if detail.is_empty() { of_leg(Leg::Subject).unwrap_or_default().to_owned() } else { detail.clone() };
    let legs = [Leg::Probe, Leg::Subject].into_iter().filter_map(of_leg);
    let evidence = match verdict {
        Verdict::Skipped { reason } => evidence_of_skip(reason).to_owned(),
        _ => [detail.as_str(), &report.stdout].into_iter().chain(legs).collect::<Vec<_>>().join("\n"),
    };
    let show = |text: &str| clean::cut(&clean::line(text), MAX_TEXT);
    Outcome { state, verdict: verdict.label(), observed: show(&observed), lacks: show(&lacks), evidence }
}

/// The host calls a leak a failure on a kernel that is new enough to isolate.
fn leak(spec: &ScenarioSpec) -> State {
    spec.isolates_since.as_ref().map_or(State::LeaksByDesign, |since| State::LeaksBefore(since.mainline))
}

/// What a kernel lacks, in a few words.
fn lacks(reason: &SkipReason) -> String {
    match reason {
        SkipReason::KernelTooOld { since, .. } => format!("needs Linux {since}"),
        SkipReason::ConfigNotSet { symbols, .. } => format!("needs {}", symbols.join(", ")),
        SkipReason::Disabled { parameter, .. } => format!("disabled by `{parameter}`"),
        other => other.to_string(),
    }
}

/// What the probe of a skipped scenario saw of the call that the scenario is about. A parameter of the user's, and a sandbox
/// that cannot be made, say nothing about that call.
fn evidence_of_skip(reason: &SkipReason) -> &str {
    match reason {
        SkipReason::KernelTooOld { evidence, .. }
        | SkipReason::ConfigNotSet { evidence, .. }
        | SkipReason::ConfigUnknown { evidence, .. }
            if !evidence.starts_with("unshare(") =>
        {
            evidence
        }
        _ => "",
    }
}

/// What a leg reported.
fn reported_by(outcome: &LegOutcome) -> Option<&str> {
    match outcome {
        LegOutcome::Isolated { detail } | LegOutcome::Leaked { detail } | LegOutcome::Failed { detail } => Some(detail),
        LegOutcome::Missing { evidence } => Some(evidence),
        LegOutcome::Available
        | LegOutcome::Reported
        | LegOutcome::Ended(_)
        | LegOutcome::Measured { .. }
        | LegOutcome::Died { .. }
        | LegOutcome::TimedOut { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::fixture;

    fn results() -> Results {
        let mut results = Results::default();
        results.add(&fixture::run());
        results
    }

    fn of<'a>(results: &'a Results, kernel: usize, name: &str) -> &'a Outcome {
        results.outcome(kernel, &name.parse().unwrap())
    }

    #[test]
    fn each_verdict_has_its_state() {
        let results = results();
        assert_eq!(
            results.kernels.iter().map(|kernel| kernel.short.as_str()).collect::<Vec<_>>(),
            ["5.10", "6.1", "6.12", "?"]
        );
        for (kernel, name, state) in [
            (0, "uts.hostname", State::Works),
            (0, "proc.loadavg", State::LeaksByDesign),
            (0, "time.boottime", State::Skipped),
            (1, "cgroup.path", State::Failed),
            (1, "ipc.shm", State::Failed),
            (1, "uts.hostname", State::Failed),
            (2, "time.boottime", State::Failed),
            (2, "pid.init", State::NoResult),
            (2, "uts.hostname", State::NotRun),
            (3, "uts.hostname", State::NoResult),
            (0, "no.such", State::NotRun),
        ] {
            assert_eq!(of(&results, kernel, name).state, state, "{name} on {kernel}");
        }
        assert_eq!(of(&results, 0, "time.boottime").lacks, "needs CONFIG_TIME_NS");
        assert_eq!(of(&results, 0, "uts.hostname").observed, "the host's name is the same");
    }

    #[test]
    fn only_the_probe_of_the_own_call_is_evidence_of_a_skipped_scenario() {
        let evidence = |text: &str| text.to_owned();
        let symbols = vec!["CONFIG_X".to_owned()];
        for (reason, expected) in [
            (
                SkipReason::ConfigNotSet { symbols: symbols.clone(), evidence: evidence("mount: EINVAL") },
                "mount: EINVAL",
            ),
            (SkipReason::ConfigNotSet { symbols, evidence: evidence("unshare(CLONE_NEWTIME): EINVAL") }, ""),
            (
                SkipReason::Disabled {
                    parameter: "lsm=".to_owned(),
                    symbol: "CONFIG_X".to_owned(),
                    evidence: evidence("landlock_create_ruleset(2): EOPNOTSUPP"),
                },
                "",
            ),
        ] {
            assert_eq!(evidence_of_skip(&reason), expected, "{reason:?}");
        }
    }

    #[test]
    fn texts_of_guests_are_clean_and_short() {
        let results = results();
        let all = results.outcomes.values().flat_map(|outcome| [&outcome.observed, &outcome.lacks]);
        let kernels = results.kernels.iter().flat_map(|kernel| [&kernel.target, &kernel.release, &kernel.short]);
        for text in all.chain(kernels) {
            assert!(!text.chars().any(clean::is_hostile) && text.chars().count() < MAX_TEXT + 40, "{text:?}");
        }
    }

    #[test]
    fn a_kernel_of_two_runs_has_one_column_and_the_later_results() {
        let mut results = results();
        let only_first_kernel = |stamped: &Stamped| match &stamped.event {
            LabEvent::JobFinished(report) => {
                let mut report = report.clone();
                report.verdict = fixture::failed("changed");
                Stamped { event: LabEvent::JobFinished(report), ..stamped.clone() }
            }
            _ => stamped.clone(),
        };
        let again: Vec<_> = fixture::run().iter().map(only_first_kernel).collect();
        results.add(&again);
        assert_eq!((results.kernels.len(), results.runs.len()), (4, 2));
        assert_eq!(of(&results, 0, "uts.hostname").state, State::Failed);
    }

    #[test]
    fn kernels_of_one_series_are_told_apart() {
        let kernel =
            |release: &str| Kernel { target: "t".to_owned(), release: release.to_owned(), short: String::new() };
        let mut kernels = ["6.12.1", "6.12.2-rt", "7.3.4", ""].map(kernel);
        name_columns(&mut kernels);
        assert_eq!(kernels.map(|kernel| kernel.short), ["6.12a", "6.12b", "7.3", "?"]);
    }

    #[test]
    fn a_leak_that_a_later_kernel_ended_says_since_when() {
        let mut spec = fixture::scenarios().remove(0);
        let since = vmlab_protocol::catalogue::Since { mainline: KernelVersion::new(6, 14, 0), backports: Vec::new() };
        spec.isolates_since = Some(since);
        assert_eq!(leak(&spec), State::LeaksBefore(KernelVersion::new(6, 14, 0)));
        spec.isolates_since = None;
        assert_eq!(leak(&spec), State::LeaksByDesign);
    }
}
