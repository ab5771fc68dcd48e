//! How often each scenario failed on each target, where the run measures it.

use unicode_width::UnicodeWidthStr;

use super::paint::Paint;
use crate::rate;
use crate::run::Run;
use vmlab_events::clean;

/// A line for each scenario and target that had a run, below a heading with an empty line before it; nothing where the run
/// does not measure rates.
#[must_use]
pub fn render(run: &Run, paint: Paint) -> String {
    let mut rows = Vec::new();
    for (kernel, known) in run.targets.iter().enumerate().filter(|_| run.repetition.measures()) {
        for (_, report) in run.reports(kernel) {
            if let Some(attempts) = &report.attempts {
                rows.push((report.job.to_string(), clean::line(known.id.as_str()), rate::text(attempts)));
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let width = |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.width()).max().unwrap_or(0);
    let (names, labels) = (width(&mut rows.iter().map(|row| &row.0)), width(&mut rows.iter().map(|row| &row.1)));
    let mut out = format!("\n{}\n", paint.bold(&format!("failure rates {}", rate::METHOD)));
    for (name, label, rate) in rows {
        let gap = " ".repeat(labels - label.width());
        out.push_str(&format!("{name:<names$}  {label}{gap}  {rate}\n"));
    }
    out
}
