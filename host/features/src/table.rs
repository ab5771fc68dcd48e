//! The table of features and kernels, made of the list and of results. Pure; [`crate::render`] writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use serde::Serialize;
use vmlab_protocol::catalogue::{KernelVersion, ScenarioId, ScenarioSpec};

use super::findings::Finding;
use super::list::{Feature, Group};
use super::results::{Kernel, Outcome, Results, State};
use super::versions::{self, VersionRow};

/// All that `vmlab report --features` shows.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The names of the runs.
    pub runs: Vec<String>,
    /// The columns.
    pub kernels: Vec<Kernel>,
    /// The features, but not the rows of versions.
    pub groups: Vec<Rows>,
    /// The rows of versions.
    pub versions: Vec<VersionRow>,
    /// Where a kernel and a text disagree.
    pub findings: Vec<Finding>,
}

/// A group of features.
#[derive(Debug, Clone, Serialize)]
pub struct Rows {
    /// The heading.
    pub title: String,
    /// A sentence on the group.
    pub about: String,
    /// The features.
    pub features: Vec<Row>,
}

/// A feature on each kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The feature.
    #[serde(flatten)]
    pub feature: Feature,
    /// The scenarios that show it, sorted by name.
    pub scenarios: Vec<ScenarioId>,
    /// One for each kernel.
    pub cells: Vec<Cell>,
}

/// A feature on a kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// What its scenarios come to.
    #[serde(flatten)]
    pub summary: Summary,
    /// The result of each of the row's scenarios, in the same order.
    pub outcomes: Vec<Outcome>,
}

/// What the scenarios of a feature come to on a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "summary", content = "until")]
pub enum Summary {
    /// All that ran passed.
    Works,
    /// Some passed; others leak, as documented, or the kernel lacks what they need.
    InPart,
    /// Linux does not isolate this.
    LeaksByDesign,
    /// Linux isolates this since that version.
    LeaksBefore(KernelVersion),
    /// There is no mechanism upstream.
    Absent,
    /// The kernel lacks what the scenarios need.
    Skipped,
    /// A scenario failed, or the kernel broke.
    Failed,
    /// A guest did not boot or was lost.
    NoResult,
    /// No record has a result.
    NotRun,
    /// There is no scenario.
    NoScenario,
}

impl Summary {
    /// All of them; the version stands for any.
    const ALL: [Self; 10] = [
        Self::Works,
        Self::InPart,
        Self::LeaksByDesign,
        Self::LeaksBefore(KernelVersion::new(6, 14, 0)),
        Self::Absent,
        Self::Skipped,
        Self::Failed,
        Self::NoResult,
        Self::NotRun,
        Self::NoScenario,
    ];

    /// At most 12 characters, for a narrow cell: `leaks < 6.14`.
    #[must_use]
    pub fn label(self) -> String {
        match self {
            Self::LeaksBefore(until) => format!("leaks < {until}"),
            other => other.words().0.to_owned(),
        }
    }

    /// In full: `leaks (before 6.14)`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::LeaksBefore(until) => format!("leaks (before {until})"),
            other => other.words().1.to_owned(),
        }
    }

    /// The meaning of the cell, for the legend.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.words().2
    }

    /// Short, in full, and the meaning.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Works => ("works", "works", "each scenario that ran has passed, and its control leaked"),
            Self::InPart => {
                ("in part", "works in part", "some scenarios passed; others leak as documented, or are skipped")
            }
            Self::LeaksByDesign => ("leaks", "leaks by design", "Linux does not isolate this, as documented"),
            Self::LeaksBefore(_) => ("leaks < N", "leaks (before N)", "Linux isolates this since version N"),
            Self::Absent => {
                ("absent", "absent upstream", "Linux has no such mechanism; the feature says what it has instead")
            }
            Self::Skipped => ("skipped", "skipped", "this kernel lacks what the scenarios need; the reason is given"),
            Self::Failed => ("FAILED", "failed", "a scenario failed, or the kernel broke"),
            Self::NoResult => ("no result", "no result", "the guest did not boot, or was lost"),
            Self::NotRun => ("not run", "not run", "the scenarios were not part of these runs"),
            Self::NoScenario => ("-", "no scenario", "no scenario shows this"),
        }
    }

    /// What a feature's outcomes come to.
    fn of(feature: &Feature, outcomes: &[Outcome]) -> Self {
        let states: BTreeSet<State> = outcomes.iter().map(|outcome| outcome.state).collect();
        let has = |state| states.contains(&state);
        let leak = states.iter().find(|state| matches!(state, State::LeaksByDesign | State::LeaksBefore(_)));
        if has(State::Failed) {
            Self::Failed
        } else if has(State::NoResult) {
            Self::NoResult
        } else if feature.instead.is_some() {
            Self::Absent
        } else if has(State::Works) {
            if leak.is_some() || has(State::Skipped) { Self::InPart } else { Self::Works }
        } else if let Some(State::LeaksBefore(until)) = leak {
            Self::LeaksBefore(*until)
        } else if leak.is_some() {
            Self::LeaksByDesign
        } else if has(State::Skipped) {
            Self::Skipped
        } else if outcomes.is_empty() {
            Self::NoScenario
        } else {
            Self::NotRun
        }
    }
}

/// Makes the table. The features of a scenario are those of `catalogue`, which may be newer than the runs; a scenario that the
/// catalogue does not have counts for the features that its run names.
#[must_use]
pub fn make(groups: &[Group], findings: Vec<Finding>, results: &Results, catalogue: &[ScenarioSpec]) -> Report {
    let scenarios = by_item(results, catalogue);
    let row = |feature: &Feature| {
        let scenarios = scenarios.get(feature.code.as_str()).cloned().unwrap_or_default();
        let cell = |kernel| {
            let outcomes: Vec<_> = scenarios.iter().map(|id| results.outcome(kernel, id).clone()).collect();
            Cell { summary: Summary::of(feature, &outcomes), outcomes }
        };
        let cells = (0..results.kernels.len()).map(cell).collect();
        Row { feature: feature.clone(), scenarios, cells }
    };
    let mut report = Report {
        runs: results.runs.clone(),
        kernels: results.kernels.clone(),
        groups: Vec::new(),
        versions: Vec::new(),
        findings,
    };
    for group in groups {
        let (of_versions, features): (Vec<_>, Vec<_>) = group.features.iter().partition(|row| row.is_of_versions());
        report.versions.extend(of_versions.into_iter().map(|feature| version_row(&row(feature), &results.kernels)));
        if !features.is_empty() {
            let features = features.into_iter().map(row).collect();
            report.groups.push(Rows { title: group.title.clone(), about: group.about.clone(), features });
        }
    }
    report
}

fn version_row(row: &Row, kernels: &[Kernel]) -> VersionRow {
    let outcomes: Vec<_> = row.cells.iter().map(|cell| cell.outcomes.clone()).collect();
    versions::row(&row.feature, &row.scenarios, &outcomes, kernels)
}

/// The scenarios of each item, sorted by name.
fn by_item<'a>(results: &'a Results, catalogue: &'a [ScenarioSpec]) -> BTreeMap<&'a str, Vec<ScenarioId>> {
    let known: BTreeSet<_> = catalogue.iter().map(|spec| &spec.id).collect();
    let unknown = results.specs.values().filter(|spec| !known.contains(&spec.id));
    let mut by_item = BTreeMap::<_, Vec<_>>::new();
    for spec in catalogue.iter().chain(unknown) {
        for item in &spec.items {
            by_item.entry(item.as_str()).or_default().push(spec.id.clone());
        }
    }
    by_item.values_mut().for_each(|ids| ids.sort());
    by_item
}

impl Report {
    /// The cells of the features on a kernel.
    fn cells(&self, kernel: usize) -> impl Iterator<Item = &Cell> {
        self.groups.iter().flat_map(|group| &group.features).filter_map(move |row| row.cells.get(kernel))
    }

    /// The kinds of cells that occur, each with its number on each kernel, in the order of `Summary::ALL`.
    #[must_use]
    pub fn counts(&self) -> Vec<(Summary, Vec<usize>)> {
        let kinds = Summary::ALL.into_iter().map(|kind| {
            let is_of_kind = |cell: &&Cell| mem::discriminant(&cell.summary) == mem::discriminant(&kind);
            let numbers = (0..self.kernels.len()).map(|kernel| self.cells(kernel).filter(is_of_kind).count());
            (kind, numbers.collect::<Vec<_>>())
        });
        kinds.filter(|(_, numbers)| numbers.iter().any(|number| *number > 0)).collect()
    }
}

impl Row {
    /// Why cells are not simply good, a line each: `6.1, time.uptime: skipped: needs Linux 6.3`. Kernels with the same
    /// line are joined.
    #[must_use]
    pub fn notes(&self, kernels: &[Kernel]) -> Vec<String> {
        let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
        for (at, scenario) in self.scenarios.iter().enumerate() {
            for (cell, kernel) in self.cells.iter().zip(kernels) {
                let Some(text) = cell.outcomes.get(at).and_then(note) else { continue };
                let text = format!("{scenario} {text}");
                match notes.iter_mut().find(|(known, _)| *known == text) {
                    Some((_, on)) => on.push(&kernel.short),
                    None => notes.push((text, vec![&kernel.short])),
                }
            }
        }
        notes.into_iter().map(|(text, on)| format!("{}: {text}", on.join(", "))).collect()
    }
}

/// What is to be said of an outcome that is not simply good.
fn note(outcome: &Outcome) -> Option<String> {
    let Outcome { state, verdict, observed, lacks, .. } = outcome;
    match state {
        State::Works | State::NotRun => None,
        State::Skipped => Some(format!("skipped: {lacks}")),
        State::LeaksByDesign => Some(format!("leaks by design: {observed}")),
        State::LeaksBefore(until) => Some(format!("leaks before {until}: {observed}")),
        State::Failed => Some(format!("failed ({verdict}): {observed}")),
        State::NoResult => Some(format!("has no result ({verdict}): {observed}")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use vmlab_events::fixture;

    use super::*;
    use crate::{findings, list};

    /// The table of the fixture.
    pub(crate) fn report() -> Report {
        let mut results = Results::default();
        results.add(&fixture::run());
        let mut catalogue = fixture::scenarios();
        for (spec, item) in catalogue.iter_mut().zip(["6b", "2a", "3b", "3e", "version-5", "3a"]) {
            spec.items = vec![item.to_owned()];
        }
        make(&list::embedded().unwrap(), findings::embedded().unwrap(), &results, &catalogue)
    }

    fn row<'a>(report: &'a Report, code: &str) -> &'a Row {
        let mut rows = report.groups.iter().flat_map(|group| &group.features);
        rows.find(|row| row.feature.code == code).unwrap()
    }

    fn words(report: &Report, code: &str) -> Vec<String> {
        row(report, code).cells.iter().map(|cell| cell.summary.label()).collect()
    }

    #[test]
    fn a_feature_has_a_word_for_each_kernel() {
        let report = report();
        assert_eq!(words(&report, "3a"), ["works", "FAILED", "not run", "no result"]);
        assert_eq!(words(&report, "3b"), ["works", "works", "no result", "no result"]);
        assert_eq!(words(&report, "3e"), ["absent", "FAILED", "absent", "no result"]);
        assert_eq!(words(&report, "7a"), vec!["-"; 4]);
        assert_eq!(words(&report, "7c"), vec!["absent"; 4]);
        assert_eq!(report.counts()[0], (Summary::Works, vec![4, 1, 1, 0]));
        assert!(Summary::ALL.iter().all(|summary| summary.label().len() <= 12 && !summary.meaning().is_empty()));
    }

    #[test]
    fn several_scenarios_come_to_one_word() {
        let feature = row(&report(), "3a").feature.clone();
        let until = KernelVersion::new(6, 14, 0);
        let of = |states: &[State]| {
            let outcome = |state: &State| Outcome {
                state: *state,
                ..Results::default().outcome(0, &"a.b".parse().unwrap()).clone()
            };
            Summary::of(&feature, &states.iter().map(outcome).collect::<Vec<_>>())
        };
        use State::{Failed, LeaksBefore, LeaksByDesign, NotRun, Skipped, Works};
        for (states, summary) in [
            (&[Works, NotRun][..], Summary::Works),
            (&[Works, Skipped], Summary::InPart),
            (&[Works, LeaksByDesign], Summary::InPart),
            (&[LeaksByDesign, Skipped], Summary::LeaksByDesign),
            (&[LeaksBefore(until)], Summary::LeaksBefore(until)),
            (&[Skipped, Skipped], Summary::Skipped),
            (&[Works, Failed], Summary::Failed),
            (&[NotRun], Summary::NotRun),
            (&[], Summary::NoScenario),
        ] {
            assert_eq!(of(states), summary, "{states:?}");
        }
    }

    #[test]
    fn notes_join_kernels_with_the_same_reason() {
        let report = report();
        let notes = row(&report, "3a").notes(&report.kernels);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].starts_with("6.1: uts.hostname failed (TIMEOUT): "), "{notes:?}");
        assert!(notes[1].starts_with("?: uts.hostname has no result (NO-BOOT): "), "{notes:?}");
    }

    #[test]
    fn a_record_without_items_still_counts_for_scenarios_of_the_catalogue() {
        let mut results = Results::default();
        results.add(&fixture::run());
        results.specs.values_mut().for_each(|spec| spec.items = Vec::new());
        let mut catalogue = fixture::scenarios();
        catalogue.truncate(1);
        let report = make(&list::embedded().unwrap(), Vec::new(), &results, &catalogue);
        assert_eq!(row(&report, "2a").scenarios.len(), 1);
    }
}
