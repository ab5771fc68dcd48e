//! Two sides, compared.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::change::{Change, Kind, changes};
use crate::cost::{Cost, costs};
use crate::kernel_report::{KernelReport, only_in};
use crate::side::{About, Side};

/// What is different between two sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The first side.
    pub old: About,
    /// The second side.
    pub new: About,
    /// The options in which the two differ, and which can be why results do: `memory: 256 and 512 MiB`.
    pub options: Vec<String>,
    /// The number of jobs that both have.
    pub compared: usize,
    /// The jobs that are different, by kind and name.
    pub changes: Vec<Change>,
    /// What the kernel reports about itself on the second side only.
    pub new_reports: Vec<KernelReport>,
    /// What the kernel reports about itself on the first side only.
    pub gone_reports: Vec<KernelReport>,
    /// The costs that have changed, by how much, the greatest increase first.
    pub costs: Vec<Cost>,
}

impl Difference {
    /// Compares two sides.
    #[must_use]
    pub fn between(old: &Side, new: &Side) -> Self {
        let names: BTreeSet<_> = old.jobs.keys().chain(new.jobs.keys()).collect();
        let both = |name: &String| old.jobs.get(name).zip(new.jobs.get(name));
        let mut changes: Vec<_> =
            names.iter().flat_map(|name| changes(name, old.jobs.get(*name), new.jobs.get(*name))).collect();
        // The names are sorted already.
        changes.sort_by_key(|change| change.kind);
        let mut costs: Vec<_> =
            names.iter().filter_map(|name| both(name).map(|(old, new)| costs(name, old, new))).flatten().collect();
        costs.sort_by_key(|cost| std::cmp::Reverse(cost.change_permille));
        Self {
            options: options(&old.about, &new.about),
            compared: names.iter().filter(|name| both(name).is_some()).count(),
            changes,
            new_reports: only_in(new, old),
            gone_reports: only_in(old, new),
            costs,
            old: old.about.clone(),
            new: new.about.clone(),
        }
    }

    /// The jobs of one kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.kind == kind)
    }

    /// Whether the second side is worse: something broke or has no result any more, the kernel reports something new, or an
    /// operation has become dearer.
    #[must_use]
    pub fn is_regression(&self) -> bool {
        self.changes.iter().any(|change| change.kind.is_regression())
            || !self.new_reports.is_empty()
            || self.costs.iter().any(Cost::is_regression)
    }

    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.new_reports.is_empty() && self.gone_reports.is_empty() && self.costs.is_empty()
    }
}

fn options(old: &About, new: &About) -> Vec<String> {
    let append = |about: &About| about.guests.append.clone().unwrap_or_else(|| "nothing".to_owned());
    let all = [
        ("vmlab", old.vmlab_version.clone(), new.vmlab_version.clone()),
        ("isolation", old.isolation.clone(), new.isolation.clone()),
        ("processors", old.guests.cpus.to_string(), new.guests.cpus.to_string()),
        ("memory in MiB", old.guests.memory_mib.to_string(), new.guests.memory_mib.to_string()),
        ("further kernel parameters", append(old), append(new)),
    ];
    let different = all.into_iter().filter(|(_, old, new)| old != new);
    different.map(|(name, old, new)| vmlab_events::clean::line(&format!("{name}: {old} and {new}"))).collect()
}

#[cfg(test)]
mod tests {
    use vmlab_console::Finding;
    use vmlab_events::event::JobReport;
    use vmlab_events::verdict::Verdict;
    use vmlab_protocol::figure::Unit;

    use super::*;
    use crate::fixture::{failed, report, side};

    #[test]
    fn changes_are_sorted_by_kind_and_name() {
        let old = side(
            "old",
            vec![
                report("k", "a", failed("x")),
                report("k", "b", Verdict::Passed),
                report("k", "c", Verdict::Passed),
                report("k", "d", Verdict::Passed),
            ],
        );
        let new = side(
            "new",
            vec![
                report("k", "a", Verdict::Passed),
                report("k", "b", failed("x")),
                report("k", "d", Verdict::Passed),
                report("k", "e", Verdict::Passed),
            ],
        );
        let found = Difference::between(&old, &new);
        let kinds: Vec<_> = found.changes.iter().map(|change| (&change.job[..], change.kind)).collect();
        assert_eq!(kinds, [("b", Kind::Broken), ("a", Kind::Fixed), ("e", Kind::Added), ("c", Kind::Removed)]);
        assert!((found.compared, found.is_regression(), found.is_empty()) == (3, true, false));
        let back = Difference::between(&new, &old);
        assert!(back.is_regression(), "what was fixed breaks again");
        let same = Difference::between(&old, &old);
        assert!(same.is_empty() && !same.is_regression());
    }

    #[test]
    fn a_new_kernel_report_and_a_dearer_operation_are_regressions() {
        let report = |warnings: Vec<Finding>| {
            let passed = report("k", "a", Verdict::Passed);
            vec![JobReport { warnings, ..passed }]
        };
        let warning =
            Finding::of_title(vmlab_console::Kind::Warning, "WARNING: CPU: 0 PID: 1 at kernel/fork.c:1 copy_process");
        let (quiet, warned) = (side("quiet", report(vec![])), side("warned", report(vec![warning])));
        assert!(Difference::between(&quiet, &warned).is_regression());
        let gone = Difference::between(&warned, &quiet);
        assert!(!gone.is_regression() && !gone.is_empty());
        let mut same = Difference::between(&quiet, &quiet);
        for (change_permille, is_worse) in [(21, true), (-21, false)] {
            same.costs = vec![Cost {
                job: "measure.create".to_owned(),
                operation: "unshare".to_owned(),
                unit: Unit::Instructions,
                old_milli: 1000,
                new_milli: 1000,
                change_permille,
            }];
            assert_eq!(same.is_regression(), is_worse);
        }
    }

    #[test]
    fn options_that_may_be_why_are_named() {
        let (old, mut new) = (side("old", vec![]), side("new", vec![]));
        new.about.guests.memory_mib = 512;
        new.about.guests.append = Some("debug".to_owned());
        let found = Difference::between(&old, &new);
        assert_eq!(found.options, ["memory in MiB: 256 and 512", "further kernel parameters: nothing and debug"]);
    }
}
