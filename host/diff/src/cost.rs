//! Costs that have changed by more than they vary.

use serde::{Deserialize, Serialize};
use vmlab_events::clean;
use vmlab_events::event::JobReport;
use vmlab_events::text;
use vmlab_protocol::figure::{Figure, INTERVAL_LIMIT_PERMILLE, Unit};

/// The cost of an operation on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The measuring scenario.
    pub job: String,
    /// What was measured.
    pub operation: String,
    /// The unit of the costs.
    pub unit: Unit,
    /// In thousandths of the unit.
    pub old_milli: u64,
    /// In thousandths of the unit.
    pub new_milli: u64,
    /// The change in thousandths of the first cost; positive if the operation has become dearer.
    pub change_permille: i64,
}

impl Cost {
    /// Whether the operation has become dearer.
    #[must_use]
    pub const fn is_regression(&self) -> bool {
        self.change_permille > 0
    }
}

/// The costs of a job that have changed by more than the blocks of either measurement differ from each other, and by more than
/// boots of one kernel do ([`INTERVAL_LIMIT_PERMILLE`]). Figures that are not valid, or of another unit, are not compared.
pub(crate) fn costs(job: &str, old: &JobReport, new: &JobReport) -> Vec<Cost> {
    let (before, now) = (text::measured(old).0, text::measured(new).0);
    let cost = |new: &Figure| {
        let old = before.iter().find(|old| old.operation == new.operation && old.unit == new.unit)?;
        let change = change_permille(old.median_milli, new.median_milli);
        let varies = INTERVAL_LIMIT_PERMILLE.max(old.spread_permille).max(new.spread_permille);
        (old.is_valid() && new.is_valid() && change.unsigned_abs() > varies).then(|| Cost {
            job: job.to_owned(),
            operation: clean::line(&new.operation),
            unit: new.unit,
            old_milli: old.median_milli,
            new_milli: new.median_milli,
            change_permille: change,
        })
    };
    now.iter().filter_map(cost).collect()
}

/// The change in thousandths of the first value; the most that there is if that is nothing.
fn change_permille(old: u64, new: u64) -> i64 {
    let (old, new) = (i128::from(old), i128::from(new));
    let change = if old == 0 { (new - old).signum() * i128::from(i64::MAX) } else { (new - old) * 1000 / old };
    i64::try_from(change).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use vmlab_events::event::LegReport;
    use vmlab_events::verdict::Verdict;
    use vmlab_protocol::message::{Leg, LegOutcome};

    use super::*;
    use crate::fixture::report;

    fn measured(figures: &[(&str, u64, u64, u64)]) -> JobReport {
        let figure = |&(operation, median_milli, spread_permille, control_permille): &(&str, u64, u64, u64)| Figure {
            operation: operation.to_owned(),
            baseline: "nothing".to_owned(),
            unit: Unit::Instructions,
            median_milli,
            spread_permille,
            baseline_milli: 1000,
            interval_permille: 0,
            ratio_permille: 1000,
            control_permille,
            blocks: 9,
        };
        let figures = figures.iter().map(figure).collect();
        let outcome = LegOutcome::Measured { figures, inconclusive: Vec::new() };
        let mut report = report("k", "measure.create", Verdict::Passed);
        report.legs.push(LegReport { leg: Leg::Subject, outcome, duration_ns: 1 });
        report
    }

    #[test]
    fn a_cost_has_changed_if_it_differs_by_more_than_it_varies() {
        let old = measured(&[
            ("a", 1000, 0, 0),
            ("b", 1000, 0, 0),
            ("c", 1000, 50, 0),
            ("d", 1000, 0, 11),
            ("e", 1000, 0, 0),
        ]);
        let new =
            measured(&[("a", 1020, 0, 0), ("b", 1021, 0, 0), ("c", 1050, 0, 0), ("d", 2000, 0, 0), ("e", 500, 0, 0)]);
        let found = costs("measure.create", &old, &new);
        let changes: Vec<_> = found.iter().map(|cost| (&cost.operation[..], cost.change_permille)).collect();
        assert_eq!(changes, [("b", 21), ("e", -500)]);
        assert!(found[0].is_regression() && !found[1].is_regression());
    }

    #[test]
    fn extreme_costs_have_a_change() {
        assert_eq!(
            [(0, 0), (0, 5), (10, 0), (1, u64::MAX)].map(|(old, new)| change_permille(old, new)),
            [0, i64::MAX, -1000, i64::MAX]
        );
    }
}
