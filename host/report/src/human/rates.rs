//! How often each scenario failed on each kernel, where that was to be found out.

use unicode_width::UnicodeWidthStr;

use super::paint::Paint;
use crate::rate;
use crate::run::Run;
use vmlab_events::clean;

/// A line for each scenario and kernel that had a run, below a heading with an empty line before it; nothing where
/// nothing was to be found out.
#[must_use]
pub fn render(run: &Run, paint: Paint) -> String {
    let mut rows = Vec::new();
    for (kernel, known) in run.targets.iter().enumerate().filter(|_| run.repetition.measures()) {
        for (_, report) in run.reports(kernel) {
            if let Some(attempts) = &report.attempts {
                rows.push((report.job.to_string(), clean::line(known.id.as_str()), rate::words(attempts)));
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let width = |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.width()).max().unwrap_or(0);
    let (names, labels) = (width(&mut rows.iter().map(|row| &row.0)), width(&mut rows.iter().map(|row| &row.1)));
    let mut out = format!("\n{}\n", paint.bold(&format!("failure rates {}", rate::METHOD)));
    for (name, label, words) in rows {
        let gap = " ".repeat(labels - label.width());
        out.push_str(&format!("{name:<names$}  {label}{gap}  {words}\n"));
    }
    out
}
