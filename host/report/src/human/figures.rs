//! What measuring scenarios have measured: operations down, targets across.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::paint::Paint;
use crate::run::Run;
use vmlab_events::{clean, text};
use vmlab_protocol::figure::Figure;

/// A table for each unit, below a heading with an empty line before it; nothing where nothing was measured.
#[must_use]
pub fn render(run: &Run, paint: Paint) -> String {
    let rows = rows(run);
    let Some(unit) = rows.iter().flat_map(|row| row.figures.iter().flatten()).next().map(|figure| figure.unit) else {
        return gaps(run, paint);
    };
    let against = if run.targets.len() > 1 { ", and (x) how many times the first kernel's" } else { "" };
    let heading = format!("costs in {}: median, spread, and how many times the baseline's{against}", unit.name());
    let mut out = format!("\n{}\n", paint.bold(&heading));
    let width = rows.iter().map(|row| row.operation.width() + INDENT).max().unwrap_or(0);
    let mut heads = " ".repeat(width);
    for target in &run.targets {
        let label = clean::line(target.id.as_str());
        let _infallible = write!(heads, "  {label:^column$}", column = column(run));
    }
    out.push_str(heads.trim_end());
    out.push('\n');
    let mut last = None;
    for row in &rows {
        let group = (row.job.as_str(), row.baseline.as_str());
        if last != Some(group) {
            out.push_str(&format!("{}, against: {}\n", paint.bold(group.0), group.1));
        }
        last = Some(group);
        out.push_str(row.line(width, run).trim_end());
        out.push('\n');
    }
    out + &gaps(run, paint)
}

/// Spaces before an operation.
const INDENT: usize = 2;
/// The width of a figure without the ratio between kernels.
const FIGURE: usize = 9 + 8 + 7;
/// The width of the ratio between kernels.
const BETWEEN: usize = 7;

/// The width of a target's column.
fn column(run: &Run) -> usize {
    if run.targets.len() > 1 { FIGURE + BETWEEN } else { FIGURE }
}

/// An operation, and its figure on each target.
struct Row {
    job: String,
    operation: String,
    baseline: String,
    figures: Vec<Option<Figure>>,
}

fn rows(run: &Run) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for job in 0..run.jobs.len() {
        for target in 0..run.targets.len() {
            let report = run.report(target, job);
            for figure in text::measured(&report).0 {
                let (job, operation) = (report.job.name(), clean::line(&figure.operation));
                let known = rows.iter().position(|row| row.job == job && row.operation == operation);
                let at = known.unwrap_or_else(|| {
                    let (job, baseline) = (job.to_owned(), clean::line(&figure.baseline));
                    rows.push(Row { job, operation, baseline, figures: vec![None; run.targets.len()] });
                    rows.len() - 1
                });
                rows[at].figures[target] = Some(figure.clone());
            }
        }
    }
    rows
}

impl Row {
    fn line(&self, width: usize, run: &Run) -> String {
        let mut line = format!("{:INDENT$}{}", "", self.operation);
        line.push_str(&" ".repeat(width.saturating_sub(line.width())));
        let first = self.figures.first().and_then(Option::as_ref);
        for (at, figure) in self.figures.iter().enumerate() {
            let text = match figure {
                None => "-".to_owned(),
                Some(figure) if !figure.is_valid() => "INVALID".to_owned(),
                Some(figure) => {
                    let (cost, spread) = (text::cost(figure.median_milli), text::percent(figure.spread_permille));
                    let ratio = text::ratio(figure.ratio_permille);
                    format!("{cost:>9}{spread:>8}{ratio:>7}{}", between(first.filter(|_| at > 0), figure))
                }
            };
            let _infallible = write!(line, "  {text:<column$}", column = column(run));
        }
        line
    }
}

/// How many times the figure of the first kernel.
fn between(first: Option<&Figure>, figure: &Figure) -> String {
    let Some(first) = first.filter(|first| first.is_valid() && first.median_milli > 0) else { return String::new() };
    let permille = figure.median_milli.saturating_mul(1000) / first.median_milli;
    format!("{:>BETWEEN$}", format!("x{}", text::ratio(permille)))
}

/// What could not be measured.
fn gaps(run: &Run, paint: Paint) -> String {
    let mut out = String::new();
    for job in 0..run.jobs.len() {
        for target in 0..run.targets.len() {
            let report = run.report(target, job);
            for gap in text::measured(&report).1 {
                let (operation, why) = (clean::line(&gap.operation), clean::line(&gap.why));
                let target = clean::line(report.target.as_str());
                out.push_str(&format!("{}  {operation} on {target}: {why}\n", paint.dim("INCONCLUSIVE")));
            }
        }
    }
    if out.is_empty() { out } else { format!("\n{out}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::event::{LabEvent, LegReport};
    use vmlab_events::fixture;
    use vmlab_protocol::figure::{Inconclusive, Unit};
    use vmlab_protocol::message::{Leg, LegOutcome};

    /// The fixture, in which the reports on one scenario have figures.
    fn measured() -> Run {
        let mut run = Run::default();
        let mut cost = 6_000_000;
        for mut event in fixture::run() {
            if let LabEvent::JobFinished(report) = &mut event.event
                && report.job.name() == "uts.hostname"
            {
                cost += 600_000;
                let figure = |operation: &str, control_permille| Figure {
                    operation: operation.to_owned(),
                    baseline: "fork, exit and wait".to_owned(),
                    unit: Unit::Instructions,
                    median_milli: cost,
                    spread_permille: 3,
                    interval_permille: 9,
                    baseline_milli: 200_000_000,
                    ratio_permille: cost / 200_000,
                    control_permille,
                    blocks: 9,
                };
                let figures =
                    vec![figure("unshare: a new uts namespace", 0), figure("unshare: a net namespace", cost / 600_000)];
                let why = "this machine has one CPU".to_owned();
                let inconclusive = vec![Inconclusive { operation: "two CPUs at once".to_owned(), why }];
                let outcome = LegOutcome::Measured { figures, inconclusive };
                report.legs = vec![LegReport { leg: Leg::Subject, outcome, duration_ns: 1 }];
            }
            run.apply(&event).unwrap();
        }
        run
    }

    #[test]
    fn figures_are_compared_with_the_first_kernel() {
        insta::assert_snapshot!(render(&measured(), Paint(false)));
    }

    #[test]
    fn a_run_that_measures_nothing_has_no_table() {
        let mut run = Run::default();
        fixture::run().iter().for_each(|event| run.apply(event).unwrap());
        assert_eq!(render(&run, Paint(false)), "");
    }
}
