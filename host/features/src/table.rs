//! The table of features and kernels, made of the list and of results. Pure; [`crate::render`] writes it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vmlab_protocol::catalogue::{Expectation, ScenarioId, ScenarioSpec};

use super::findings::Finding;
use super::list::{Feature, Group};
use super::outcome::{Outcome, State};
use super::results::{Kernel, Results, Unfinished};
use super::summary::{Kind, Summary};
use super::versions::{self, VersionRow};

/// All that `vmlab report --features` shows.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The names of the runs.
    pub runs: Vec<String>,
    /// Those of them in which jobs have no result.
    pub unfinished: Vec<Unfinished>,
    /// The columns.
    pub kernels: Vec<Kernel>,
    /// The features, but not the rows of versions.
    pub groups: Vec<Rows>,
    /// The rows of versions.
    pub versions: Vec<VersionRow>,
    /// Where a kernel and a text disagree.
    pub findings: Vec<FindingRow>,
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
    /// The text of the cell.
    pub text: String,
    /// The result of each of the row's scenarios, in the same order.
    pub outcomes: Vec<OfScenario>,
}

/// The result of a scenario on a kernel.
#[derive(Debug, Clone, Serialize)]
pub struct OfScenario {
    /// The scenario.
    pub scenario: ScenarioId,
    /// The result.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A finding, and whether it is about a kernel of the table.
#[derive(Debug, Clone, Serialize)]
pub struct FindingRow {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// Whether it was seen on a series of kernels that has a column.
    pub of_these_kernels: bool,
}

/// Makes the table. The features of a scenario are those of `catalogue`, which may be newer than the runs; a scenario that the
/// catalogue does not have counts for the features that its run names.
#[must_use]
pub fn make(groups: &[Group], findings: Vec<Finding>, results: &Results, catalogue: &[ScenarioSpec]) -> Report {
    let scenarios = by_item(results, catalogue);
    let measuring = |id: &ScenarioId| {
        let mut specs = catalogue.iter().chain(results.specs.values());
        specs.any(|spec| spec.id == *id && spec.expects == Expectation::Figures)
    };
    let row = |feature: &Feature| {
        let scenarios = scenarios.get(feature.code.as_str()).cloned().unwrap_or_default();
        let is_measured = !scenarios.is_empty() && scenarios.iter().all(&measuring);
        let cell = |kernel| {
            let of_scenario =
                |id: &ScenarioId| OfScenario { scenario: id.clone(), outcome: results.outcome(kernel, id).clone() };
            let outcomes: Vec<_> = scenarios.iter().map(of_scenario).collect();
            let only_outcomes: Vec<_> = outcomes.iter().map(|of| &of.outcome).collect();
            let summary = Summary::of(feature.instead.is_some(), is_measured, &only_outcomes);
            Cell { text: summary.label(), summary, outcomes }
        };
        let cells = (0..results.kernels.len()).map(cell).collect();
        Row { feature: feature.clone(), scenarios, cells }
    };
    let finding = |finding: Finding| FindingRow { of_these_kernels: finding.concerns(&results.kernels), finding };
    let mut report = Report {
        runs: results.runs.clone(),
        unfinished: results.unfinished.clone(),
        kernels: results.kernels.clone(),
        groups: Vec::new(),
        versions: Vec::new(),
        findings: findings.into_iter().map(finding).collect(),
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
    let outcomes: Vec<_> = row.cells.iter().map(Cell::only_outcomes).collect();
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

    /// The kinds of cells that occur, each with its number on each kernel, in the order of the legend.
    #[must_use]
    pub fn counts(&self) -> Vec<(Kind, Vec<usize>)> {
        let kinds = Kind::ALL.into_iter().map(|kind| {
            let of_kind = |kernel| self.cells(kernel).filter(|cell| cell.summary.kind == kind).count();
            (kind, (0..self.kernels.len()).map(of_kind).collect::<Vec<_>>())
        });
        kinds.filter(|(_, numbers)| numbers.iter().any(|number| *number > 0)).collect()
    }
}

impl Row {
    /// Why cells are not simply good, a line each: `6.1: time.uptime skipped: needs Linux 6.3`. Kernels with the same
    /// line are joined.
    #[must_use]
    pub fn notes(&self, kernels: &[Kernel]) -> Vec<String> {
        let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
        for (cell, kernel) in self.cells.iter().zip(kernels) {
            for text in cell.notes() {
                match notes.iter_mut().find(|(known, _)| *known == text) {
                    Some((_, on)) => on.push(&kernel.short),
                    None => notes.push((text, vec![&kernel.short])),
                }
            }
        }
        notes.into_iter().map(|(text, on)| format!("{}: {text}", on.join(", "))).collect()
    }
}

impl Cell {
    fn only_outcomes(&self) -> Vec<Outcome> {
        self.outcomes.iter().map(|of| of.outcome.clone()).collect()
    }

    /// What is to be said of the cell besides its text.
    fn notes(&self) -> Vec<String> {
        let works = self.summary.kind == Kind::Works;
        let mut notes: Vec<_> = works.then(|| self.later_additions()).flatten().into_iter().collect();
        for OfScenario { scenario, outcome } in &self.outcomes {
            // A cell that works has no other skips than those for want of a later kernel.
            if !(works && outcome.state == State::Skipped) {
                notes.extend(outcome.note().map(|text| format!("{scenario} {text}")));
            }
        }
        notes.extend(self.without_result());
        notes
    }

    /// `8/9; 1 needs a later Linux (namespace.list: 6.19)`
    fn later_additions(&self) -> Option<String> {
        let later = self.outcomes.iter().filter_map(|of| Some(format!("{}: {}", of.scenario, of.outcome.needs?)));
        let later: Vec<_> = later.collect();
        let Summary { passed, of, .. } = &self.summary;
        let need = if later.len() == 1 { "needs" } else { "need" };
        let note = || format!("{passed}/{of}; {} {need} a later Linux ({})", later.len(), later.join(", "));
        (!later.is_empty()).then(note)
    }

    /// The scenarios without a result, and why they have none. Nothing, if none of them was in the runs: the cell says so.
    fn without_result(&self) -> Vec<String> {
        let in_state = |state: State| {
            let of_state = self.outcomes.iter().filter(move |of| of.outcome.state == state);
            of_state.map(|of| of.scenario.to_string()).collect::<Vec<_>>()
        };
        let (not_run, not_in_these_runs) = (in_state(State::NotRun), in_state(State::NotInTheseRuns));
        let mut notes = Vec::new();
        if self.summary.kind == Kind::NotMeasured {
            notes.push("not measured: `vmlab run --measure` runs the scenarios".to_owned());
        }
        if !not_run.is_empty() {
            notes.push(format!("not run, because the run ended before: {}", not_run.join(", ")));
        }
        if !not_in_these_runs.is_empty() && not_in_these_runs.len() < self.outcomes.len() {
            notes.push(format!("not run, because not in these runs: {}", not_in_these_runs.join(", ")));
        }
        notes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use vmlab_events::fixture;

    use super::*;
    use crate::outcome::tests::of_state;
    use crate::{findings, list};
    use vmlab_protocol::catalogue::KernelVersion;

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
        row(report, code).cells.iter().map(|cell| cell.text.clone()).collect()
    }

    #[test]
    fn a_feature_has_a_word_for_each_kernel() {
        let report = report();
        assert_eq!(words(&report, "3a"), ["works", "FAILED", "not run", "no result"]);
        assert_eq!(words(&report, "3b"), ["works", "works", "no result", "no result"]);
        assert_eq!(words(&report, "3e"), ["absent", "FAILED", "absent", "no result"]);
        assert_eq!(words(&report, "7a"), vec!["no scenario"; 4]);
        assert_eq!(words(&report, "7c"), vec!["absent"; 4]);
        assert_eq!(report.counts()[0], (Kind::Works, vec![4, 1, 1, 0]));
    }

    /// A cell of scenarios `a.a`, `a.b` and so on.
    fn cell(outcomes: &[Outcome]) -> Cell {
        let of = |(outcome, letter): (&Outcome, char)| OfScenario {
            scenario: format!("a.{letter}").parse().unwrap(),
            outcome: outcome.clone(),
        };
        let summary = Summary::of(false, false, &outcomes.iter().collect::<Vec<_>>());
        Cell { text: summary.label(), summary, outcomes: outcomes.iter().zip('a'..).map(of).collect() }
    }

    #[test]
    fn a_cell_tells_which_scenarios_have_no_result_and_which_need_a_later_kernel() {
        let later = Outcome { needs: Some(KernelVersion::new(6, 19, 0)), ..of_state(State::Skipped) };
        let works = of_state(State::Works);
        assert_eq!(cell(&[works.clone(), later]).notes(), ["1/2; 1 needs a later Linux (a.b: 6.19)"]);
        let incomplete = cell(&[works, of_state(State::NotRun), of_state(State::NotInTheseRuns)]);
        assert_eq!(incomplete.text, "works 1/3");
        let expected = ["not run, because the run ended before: a.b", "not run, because not in these runs: a.c"]
            .map(str::to_owned);
        assert_eq!(incomplete.notes(), expected);
        assert_eq!(cell(&[of_state(State::NotInTheseRuns)]).notes(), Vec::<String>::new());
    }

    #[test]
    fn a_feature_of_measuring_scenarios_is_measured_or_names_the_command() {
        let mut results = Results::default();
        results.add(&fixture::run());
        let mut catalogue = fixture::scenarios();
        for spec in &mut catalogue {
            spec.items = vec!["biederman-6".to_owned()];
            spec.id = format!("measure.{}", spec.id.as_str().replace('.', "-")).parse().unwrap();
            spec.expects = Expectation::Figures;
        }
        let report = make(&list::embedded().unwrap(), Vec::new(), &results, &catalogue);
        assert_eq!(words(&report, "biederman-6"), vec!["not measured"; 4]);
        let notes = row(&report, "biederman-6").notes(&report.kernels);
        assert_eq!(notes, ["5.10, 6.1, 6.12, ?: not measured: `vmlab run --measure` runs the scenarios"]);
    }

    #[test]
    fn notes_join_kernels_with_the_same_reason() {
        let report = report();
        let notes = row(&report, "3a").notes(&report.kernels);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].starts_with("6.1: uts.hostname failed (TIMEOUT): "), "{notes:?}");
        assert_eq!(notes[1], "6.12: not run, because the run ended before: uts.hostname");
        assert!(notes[2].starts_with("?: uts.hostname has no result (NO-BOOT): "), "{notes:?}");
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
