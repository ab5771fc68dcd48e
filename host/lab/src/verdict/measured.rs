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
        let Figure { operation, control_permille, interval_permille, blocks, .. } = invalid.clone();
        let interval_permille = Some(interval_permille);
        return Verdict::Failed { reason: Failure::Invalid { operation, control_permille, interval_permille, blocks } };
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

    fn verdict(figures: &[(u64, u64, u32)], inconclusive: &[&str]) -> Verdict {
        let figures = figures.iter().map(|&(control_permille, interval_permille, blocks)| Figure {
            operation: "getpid".to_owned(),
            baseline: "getpid outside".to_owned(),
            unit: Unit::Instructions,
            median_milli: 217_000,
            spread_permille: 0,
            interval_permille,
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
        assert_eq!(verdict(&[(0, 0, 6), (10, 20, 9)], &["one CPU"]), Verdict::Passed);
    }

    #[test]
    fn one_unsteady_figure_makes_all_figures_invalid_and_the_reason_is_in_words() {
        let baseline = "the baseline differs from itself by 1.1 % in 9 blocks (limit: 1.0 %)";
        let cost = "the cost is known to 2.1 % of it only, from 9 blocks (limit: 2.0 %)";
        for (figures, why) in [
            ([(0, 0, 9), (11, 0, 9)], baseline),
            ([(0, 0, 9), (11, 21, 9)], baseline),
            ([(0, 21, 9), (0, 0, 9)], cost),
            ([(0, 0, 5), (0, 0, 9)], "5 blocks are too few"),
        ] {
            let verdict = verdict(&figures, &[]);
            let Verdict::Failed { reason: reason @ Failure::Invalid { .. } } = verdict else { panic!("{verdict:?}") };
            assert_eq!(reason.to_string(), format!("INVALID: getpid: {why}"));
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
