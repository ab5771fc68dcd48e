//! What measuring scenarios have measured.

use vmlab_protocol::figure::{Figure, Inconclusive};
use vmlab_protocol::message::LegOutcome;

use crate::clean;
use crate::event::JobReport;

/// The figures of a report, and what it could not measure; both are empty for other jobs.
#[must_use]
pub fn measured(report: &JobReport) -> (&[Figure], &[Inconclusive]) {
    let of_leg = report.legs.iter().find_map(|leg| match &leg.outcome {
        LegOutcome::Measured { figures, inconclusive } => Some((figures.as_slice(), inconclusive.as_slice())),
        _ => None,
    });
    of_leg.unwrap_or_default()
}

/// The figures of a report, a clean line each.
#[must_use]
pub fn figures(report: &JobReport) -> Vec<String> {
    let (figures, inconclusive) = measured(report);
    let gap = |gap: &Inconclusive| format!("{}: INCONCLUSIVE: {}", clean::line(&gap.operation), clean::line(&gap.why));
    figures.iter().map(figure).chain(inconclusive.iter().map(gap)).collect()
}

/// `create a UTS namespace: 6123 instructions, spread 0.3 %, known to 0.5 %; 0.031 times: fork a process (200112), in 9 blocks`
fn figure(figure: &Figure) -> String {
    let Figure { operation, baseline, unit, blocks, .. } = figure;
    let validity = if figure.is_valid() { "" } else { "INVALID: " };
    format!(
        "{}: {validity}{} {}, spread {}, known to {}; {} times: {} ({}, itself again: {}), in {blocks} blocks",
        clean::line(operation),
        cost(figure.median_milli),
        unit.name(),
        percent(figure.spread_permille),
        percent(figure.interval_permille),
        ratio(figure.ratio_permille),
        clean::line(baseline),
        cost(figure.baseline_milli),
        percent(figure.control_permille),
    )
}

/// A cost, in thousandths, with four digits or more: `75.25`, `217.0`, `6123`.
#[must_use]
pub fn cost(milli: u64) -> String {
    match milli {
        0..100_000 => format!("{}.{:02}", milli / 1000, milli % 1000 / 10),
        100_000..1_000_000 => format!("{}.{}", milli / 1000, milli % 1000 / 100),
        _ => (milli / 1000).to_string(),
    }
}

/// `1.2 %`
#[must_use]
pub fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

/// A ratio, in thousandths: `0.031`, `1.33`, `25.1`.
#[must_use]
pub fn ratio(permille: u64) -> String {
    let (whole, part) = (permille / 1000, permille % 1000);
    match permille {
        0..1000 => format!("{whole}.{part:03}"),
        1000..10_000 => format!("{whole}.{:02}", part / 10),
        _ => format!("{whole}.{}", part / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_or_more() {
        assert_eq!([75_250, 217_000, 6_123_456].map(cost), ["75.25", "217.0", "6123"]);
        assert_eq!([31, 1330, 25_149].map(ratio), ["0.031", "1.33", "25.1"]);
        assert_eq!([0, 3, 12, 250].map(percent), ["0.0 %", "0.3 %", "1.2 %", "25.0 %"]);
    }
}
