//! What the scenarios of a feature come to on a kernel: one word, with counts. Pure.

use serde::Serialize;
use vmlab_protocol::catalogue::KernelVersion;

use super::outcome::{Outcome, State};

/// The kinds of cells. All forms of the table use the same words for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// All that this kernel is new enough for passed.
    Works,
    /// Those that ran passed; others have no result.
    Incomplete,
    /// Some passed; others leak, as documented, or the kernel lacks what they need.
    InPart,
    /// Linux does not isolate this.
    Leaks,
    /// Linux isolates this since a version.
    LeaksBefore,
    /// There is no mechanism upstream.
    Absent,
    /// Costs were measured.
    Measured,
    /// Only measuring scenarios show this, and none has run.
    NotMeasured,
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

impl Kind {
    /// All of them, in the order of the legend.
    pub(crate) const ALL: [Self; 13] = [
        Self::Works,
        Self::Incomplete,
        Self::InPart,
        Self::Leaks,
        Self::LeaksBefore,
        Self::Absent,
        Self::Measured,
        Self::NotMeasured,
        Self::Skipped,
        Self::Failed,
        Self::NoResult,
        Self::NotRun,
        Self::NoScenario,
    ];

    /// The word of the legend.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.words().0
    }

    /// The meaning, for the legend.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.words().1
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Works => ("works", "each scenario that this kernel is new enough for has passed"),
            Self::Incomplete => ("works n/m", "those that ran have passed; the others have no result"),
            Self::InPart => ("in part n/m", "n of m scenarios passed; others leak as documented, or are skipped"),
            Self::Leaks => ("leaks", "Linux does not isolate this, as documented"),
            Self::LeaksBefore => {
                ("leaks before a version", "Linux isolates this since the version that the cell names")
            }
            Self::Absent => ("absent", "Linux has no such mechanism; the feature says what it has instead"),
            Self::Measured => ("measured", "the scenarios measure costs; the details have the greatest ratios"),
            Self::NotMeasured => ("not measured", "only `vmlab run --measure` runs the scenarios of this"),
            Self::Skipped => ("skipped", "this kernel lacks what the scenarios need; the reason is given"),
            Self::Failed => ("FAILED", "a scenario failed, or the kernel broke"),
            Self::NoResult => ("no result", "the guest did not boot, or was lost"),
            Self::NotRun => ("not run", "no scenario has a result: none was in these runs, or the run ended before"),
            Self::NoScenario => ("no scenario", "no scenario shows this"),
        }
    }
}

/// What a feature's scenarios come to on a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The kind.
    #[serde(rename = "summary")]
    pub kind: Kind,
    /// The first version that isolates, of [`Kind::LeaksBefore`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<KernelVersion>,
    /// The number of scenarios that passed or have measured.
    pub passed: usize,
    /// The number of scenarios that were skipped.
    pub skipped: usize,
    /// The number of scenarios without a result.
    pub without_result: usize,
    /// The number of all scenarios of the feature.
    pub of: usize,
}

impl Summary {
    /// `is_absent`: there is no mechanism upstream. `is_measured`: all scenarios are measuring ones.
    pub(crate) fn of(is_absent: bool, is_measured: bool, outcomes: &[&Outcome]) -> Self {
        let count = |is_one: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is_one(outcome)).count();
        let has = |state: State| outcomes.iter().any(|outcome| outcome.state == state);
        let passed = count(&|outcome| matches!(outcome.state, State::Works | State::Measured));
        let skipped = count(&|outcome| outcome.state == State::Skipped);
        let later = count(&|outcome| outcome.needs.is_some());
        let without_result = count(&|outcome| !outcome.is_result());
        let of = outcomes.len();
        let leaks_before = outcomes.iter().find_map(|outcome| match outcome.state {
            State::LeaksBefore(until) => Some(until),
            _ => None,
        });
        let leaks = has(State::Leaks) || leaks_before.is_some();
        let kind = if has(State::Failed) {
            Kind::Failed
        } else if has(State::NoResult) {
            Kind::NoResult
        } else if is_absent {
            Kind::Absent
        } else if of == 0 {
            Kind::NoScenario
        } else if without_result == of {
            if is_measured { Kind::NotMeasured } else { Kind::NotRun }
        } else if passed > 0 && is_measured {
            Kind::Measured
        } else if passed > 0 {
            match (leaks || skipped > later, without_result) {
                (true, _) => Kind::InPart,
                (false, 0) => Kind::Works,
                (false, _) => Kind::Incomplete,
            }
        } else if leaks_before.is_some() {
            Kind::LeaksBefore
        } else if leaks {
            Kind::Leaks
        } else {
            Kind::Skipped
        };
        let until = leaks_before.filter(|_| kind == Kind::LeaksBefore);
        Self { kind, until, passed, skipped, without_result, of }
    }

    /// The text of the cell: `works 3/12`, `leaks < 6.14`.
    #[must_use]
    pub fn label(&self) -> String {
        let Self { kind, until, passed, skipped, without_result, of } = self;
        match kind {
            Kind::Incomplete => format!("works {passed}/{of}"),
            Kind::InPart => format!("in part {passed}/{of}"),
            Kind::Measured if passed < of => format!("measured {passed}/{of}"),
            Kind::Absent if *of > 0 && without_result == of => "absent, not run".to_owned(),
            // A skipped scenario has shown nothing, not even that the mechanism is absent.
            Kind::Absent if *skipped > 0 && skipped + without_result == *of => "absent, skipped".to_owned(),
            other => until.map_or_else(|| other.label().to_owned(), |until| format!("leaks < {until}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::of_state;

    fn summary(is_absent: bool, is_measured: bool, outcomes: &[Outcome]) -> (Kind, String) {
        let summary = Summary::of(is_absent, is_measured, &outcomes.iter().collect::<Vec<_>>());
        (summary.kind, summary.label())
    }

    #[test]
    fn several_scenarios_come_to_one_word_with_counts() {
        use State::{Failed, Leaks, LeaksBefore, Measured, NotInTheseRuns, NotRun, Skipped, Works};
        let until = KernelVersion::new(6, 3, 0);
        for (is_absent, is_measured, states, kind, label) in [
            (false, false, &[Works, Works][..], Kind::Works, "works"),
            (false, false, &[Works, NotRun, NotInTheseRuns], Kind::Incomplete, "works 1/3"),
            (false, false, &[Works, Skipped], Kind::InPart, "in part 1/2"),
            (false, false, &[Works, Leaks, NotRun], Kind::InPart, "in part 1/3"),
            (false, false, &[Leaks, Skipped], Kind::Leaks, "leaks"),
            (false, false, &[LeaksBefore(until)], Kind::LeaksBefore, "leaks < 6.3"),
            (false, false, &[Skipped, Skipped], Kind::Skipped, "skipped"),
            (false, false, &[Works, Failed], Kind::Failed, "FAILED"),
            (false, false, &[NotRun], Kind::NotRun, "not run"),
            (false, false, &[], Kind::NoScenario, "no scenario"),
            (true, false, &[Leaks, Skipped], Kind::Absent, "absent"),
            (true, false, &[Skipped], Kind::Absent, "absent, skipped"),
            (true, false, &[Skipped, NotRun], Kind::Absent, "absent, skipped"),
            (true, false, &[NotInTheseRuns], Kind::Absent, "absent, not run"),
            (true, false, &[], Kind::Absent, "absent"),
            (false, true, &[Measured, Measured], Kind::Measured, "measured"),
            (false, true, &[Measured, NotInTheseRuns], Kind::Measured, "measured 1/2"),
            (false, true, &[NotInTheseRuns], Kind::NotMeasured, "not measured"),
            (false, true, &[Skipped, NotInTheseRuns], Kind::Skipped, "skipped"),
        ] {
            let outcomes: Vec<_> = states.iter().map(|state| of_state(*state)).collect();
            assert_eq!(summary(is_absent, is_measured, &outcomes), (kind, label.to_owned()), "{states:?}");
        }
    }

    #[test]
    fn a_feature_works_if_only_additions_of_later_kernels_are_missing() {
        let later = Outcome { needs: Some(KernelVersion::new(6, 19, 0)), ..of_state(State::Skipped) };
        let works = of_state(State::Works);
        assert_eq!(summary(false, false, &[works.clone(), later.clone()]).1, "works");
        assert_eq!(summary(false, false, &[works, later.clone(), of_state(State::Skipped)]).1, "in part 1/3");
        assert_eq!(summary(false, false, &[later]).1, "skipped");
    }

    #[test]
    fn no_word_of_the_legend_names_a_version() {
        for kind in Kind::ALL {
            assert!(!kind.label().contains(|c: char| c.is_ascii_digit()) && !kind.meaning().is_empty(), "{kind:?}");
            let json = serde_json::to_string(&kind).unwrap();
            assert!(json.trim_matches('"').chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{json}");
        }
    }
}
