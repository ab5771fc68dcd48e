//! The verdict on a measuring scenario. Pure.

use vmlab_events::event::LegReport;
use vmlab_events::verdict::{Failure, SkipReason, Verdict, Violation};
use vmlab_protocol::figure::Figure;
use vmlab_protocol::message::LegOutcome;

/// The verdict of a subject that has measured. One figure whose conditions were not steady makes the whole invalid.
pub(super) fn measured(legs: &[LegReport]) -> Verdict {
    let outcome = legs.last().map(|report| &report.outcome);
    let Some(LegOutcome::Measured { figures, inconclusive }) = outcome else { return undecided(outcome) };
    if let Some(invalid) = figures.iter().find(|figure| !figure.is_valid()) {
        let Figure { operation, control_permille, blocks, .. } = invalid.clone();
        return Verdict::Failed { reason: Failure::Invalid { operation, control_permille, blocks } };
    }
    match (figures.as_slice(), inconclusive.first()) {
        ([_, ..], _) => Verdict::Passed,
        ([], Some(gap)) => {
            let why = format!("{}: {}", gap.operation, gap.why);
            Verdict::Skipped { reason: SkipReason::Inconclusive { why } }
        }
        ([], None) => undecided(outcome),
    }
}

/// The session lets nothing else through, except figures without a figure. That is no pass.
fn undecided(subject: Option<&LegOutcome>) -> Verdict {
    let reason = Violation::Undecided { subject: subject.cloned(), control: None };
    Verdict::ProtocolViolation { reason, evidence: None }
}

#[cfg(test)]
mod tests {
    use vmlab_protocol::figure::{Inconclusive, Unit};
    use vmlab_protocol::message::Leg;

    use super::*;

    fn verdict(figures: &[(u64, u32)], inconclusive: &[&str]) -> Verdict {
        let figures = figures.iter().map(|&(control_permille, blocks)| Figure {
            operation: "getpid".to_owned(),
            baseline: "getpid outside".to_owned(),
            unit: Unit::Instructions,
            median_milli: 217_000,
            spread_permille: 0,
            baseline_milli: 217_000,
            ratio_permille: 1000,
            control_permille,
            blocks,
        });
        let gap = |why: &&str| Inconclusive { operation: "bounce".to_owned(), why: (*why).to_owned() };
        let inconclusive = inconclusive.iter().map(gap).collect();
        let outcome = LegOutcome::Measured { figures: figures.collect(), inconclusive };
        measured(&[LegReport { leg: Leg::Subject, outcome, duration_ns: 1 }])
    }

    #[test]
    fn steady_figures_pass() {
        assert_eq!(verdict(&[(0, 5), (10, 9)], &["one CPU"]), Verdict::Passed);
    }

    #[test]
    fn one_baseline_that_differs_from_itself_makes_all_figures_invalid() {
        for figures in [[(0, 9), (11, 9)], [(0, 4), (0, 9)]] {
            let verdict = verdict(&figures, &[]);
            assert!(matches!(verdict, Verdict::Failed { reason: Failure::Invalid { .. } }), "{verdict:?}");
        }
    }

    #[test]
    fn without_a_figure_nothing_passes() {
        let verdict_of = |inconclusive: &[&str]| verdict(&[], inconclusive);
        assert!(matches!(verdict_of(&["one CPU"]), Verdict::Skipped { reason: SkipReason::Inconclusive { .. } }));
        assert!(matches!(verdict_of(&[]), Verdict::ProtocolViolation { .. }));
        assert!(matches!(measured(&[]), Verdict::ProtocolViolation { .. }));
    }
}
