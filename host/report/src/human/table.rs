//! The table: jobs down, targets across.
//!
//! It is never wider than the terminal. Where labels and releases do not fit as heads, letters stand for the targets and a
//! legend above explains them; where those do not fit beside each other either, there are several tables.

use std::ops::Range;

use unicode_width::UnicodeWidthStr;

use super::paint::Paint;
use crate::run::Run;
use vmlab_events::{clean, text};

/// Spaces between columns.
const GAP: usize = 2;
/// No job's name is cut to less.
const MIN_NAME: usize = 8;

/// The table, or tables, with a line end each.
#[must_use]
pub fn render(run: &Run, columns: Option<usize>, paint: Paint) -> String {
    let limit = columns.unwrap_or(usize::MAX);
    let heads: Vec<_> =
        run.targets.iter().map(|kernel| vec![clean::line(kernel.id.as_str()), clean::line(&kernel.release)]).collect();
    let full = Grid { run, heads, name_width: name_width(run, usize::MAX), paint };
    if full.width(0..run.targets.len()) <= limit {
        return full.rows(0..run.targets.len());
    }
    let heads: Vec<_> = (0..run.targets.len()).map(|kernel| vec![letter(kernel)]).collect();
    let grid = Grid { run, heads, name_width: name_width(run, limit), paint };
    let mut out = legend(run, paint);
    let mut start = 0;
    while start < run.targets.len() {
        // At least one target in each table, whatever the width: else it would have no table at all.
        let fits = |end: &usize| *end == start + 1 || grid.width(start..*end) <= limit;
        let end = (start + 1..=run.targets.len()).take_while(fits).last().unwrap_or(start + 1);
        out.push('\n');
        out.push_str(&grid.rows(start..end));
        start = end;
    }
    out
}

/// `A` to `Z`, then `AA` and so on.
fn letter(index: usize) -> String {
    let last = char::from(b'A' + u8::try_from(index % 26).unwrap_or(0));
    if index < 26 { last.to_string() } else { format!("{}{last}", letter(index / 26 - 1)) }
}

fn legend(run: &Run, paint: Paint) -> String {
    let labels: Vec<_> = run.targets.iter().map(|kernel| clean::line(kernel.id.as_str())).collect();
    let width = labels.iter().map(|label| label.width()).max().unwrap_or(0);
    let mut out = String::new();
    for (index, (kernel, label)) in run.targets.iter().zip(&labels).enumerate() {
        let head = paint.bold(&format!("{:>3}", letter(index)));
        let line = format!("{head}  {}  {}", pad(label, width), clean::line(&kernel.release));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Width of the first column, so that one target's column fits beside it.
fn name_width(run: &Run, limit: usize) -> usize {
    let longest =
        run.jobs.iter().map(|spec| spec.name().width()).max().unwrap_or(0).max(text::kind_of_jobs(&run.jobs).len());
    let widest_label = "VANISHED".len();
    longest.min(limit.saturating_sub(GAP + widest_label).max(MIN_NAME))
}

struct Grid<'a> {
    run: &'a Run,
    /// The lines of each target's head.
    heads: Vec<Vec<String>>,
    name_width: usize,
    paint: Paint,
}

impl Grid<'_> {
    fn column_width(&self, kernel: usize) -> usize {
        let head = self.heads[kernel].iter().map(|line| line.width());
        let cells = self.run.reports(kernel).map(|(_, report)| report.verdict.label().len());
        head.chain(cells).max().unwrap_or(0)
    }

    fn width(&self, mut kernels: Range<usize>) -> usize {
        // The last column needs no padding, but its head and its labels must fit all the same.
        let columns = kernels.by_ref().map(|kernel| GAP + self.column_width(kernel));
        self.name_width + columns.sum::<usize>()
    }

    fn rows(&self, kernels: Range<usize>) -> String {
        let mut out = String::new();
        let lines = self.heads.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..lines {
            let name = if line == 0 { text::kind_of_jobs(&self.run.jobs) } else { "" };
            let heads = kernels.clone().map(|kernel| (self.heads[kernel][line].clone(), self.column_width(kernel)));
            out.push_str(&self.paint.bold(&row(name, self.name_width, heads, |_, text| text)));
            out.push('\n');
        }
        for (scenario, spec) in self.run.jobs.iter().enumerate() {
            let reports: Vec<_> = kernels.clone().map(|kernel| self.run.report(kernel, scenario)).collect();
            let cells = kernels
                .clone()
                .zip(&reports)
                .map(|(kernel, report)| (report.verdict.label().to_owned(), self.column_width(kernel)));
            let paint = |at: usize, text: String| self.paint.verdict(&reports[at].verdict, &text);
            out.push_str(&row(&shorten(spec.name(), self.name_width), self.name_width, cells, paint));
            out.push('\n');
        }
        out
    }
}

/// One row, padded between the columns and not at its end. The paint goes on the text and not on the padding.
fn row(
    name: &str,
    name_width: usize,
    cells: impl Iterator<Item = (String, usize)>,
    paint: impl Fn(usize, String) -> String,
) -> String {
    let mut out = name.to_owned();
    let mut missing = name_width.saturating_sub(name.width());
    for (at, (text, width)) in cells.enumerate() {
        let text_width = text.width();
        if text_width > 0 {
            out.push_str(&" ".repeat(missing + GAP));
            missing = width - text_width;
            out.push_str(&paint(at, text));
        } else {
            missing += GAP + width;
        }
    }
    out
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn shorten(name: &str, width: usize) -> String {
    if name.width() <= width { name.to_owned() } else { name.chars().take(width - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::event::{LabEvent, Stamped};
    use vmlab_events::fixture;
    use vmlab_events::target::TargetId;

    fn fixture_run() -> Run {
        let mut run = Run::default();
        fixture::run().iter().for_each(|event| run.apply(event).unwrap());
        run
    }

    /// A run that was announced with so many kernels and never went on.
    fn announced(count: usize) -> Run {
        let mut event = fixture::run().remove(0);
        if let LabEvent::RunStarted { targets, .. } = &mut event.event {
            *targets = (0..count).map(|n| TargetId::new(format!("debian:suite-{n}"))).collect();
        }
        let mut run = Run::default();
        run.apply(&Stamped { elapsed_ms: 0, event: event.event }).unwrap();
        run
    }

    #[test]
    fn with_room_the_heads_are_label_and_release() {
        insta::assert_snapshot!(render(&fixture_run(), None, Paint(false)));
    }

    #[test]
    fn in_80_columns_letters_stand_for_the_kernels() {
        insta::assert_snapshot!(render(&fixture_run(), Some(80), Paint(false)));
    }

    #[test]
    fn many_kernels_in_a_narrow_terminal_are_several_tables() {
        insta::assert_snapshot!(render(&announced(7), Some(40), Paint(false)));
    }

    #[test]
    fn no_row_is_wider_than_the_terminal() {
        for (run, kernels) in [(fixture_run(), 4), (announced(30), 30)] {
            for columns in MIN_NAME + GAP + "VANISHED".len()..200 {
                let text = render(&run, Some(columns), Paint(false));
                // The legend may be: it wraps without harm.
                let rows: Vec<_> = text.lines().skip(if text.starts_with("  A") { kernels } else { 0 }).collect();
                assert!(rows.iter().all(|row| row.width() <= columns), "{columns}:\n{text}");
                let cells = rows.iter().map(|row| row.split_whitespace().skip(1).count()).sum::<usize>();
                assert!(cells >= kernels * 6, "every cell is there:\n{text}");
            }
        }
    }

    #[test]
    fn paint_changes_no_column() {
        let (plain, painted) = (render(&fixture_run(), None, Paint(false)), render(&fixture_run(), None, Paint(true)));
        let mut bare = String::new();
        let mut rest = painted.as_str();
        while let Some((before, after)) = rest.split_once('\x1b') {
            bare.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(bare + rest, plain);
    }

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 51, 52].map(letter), ["A", "Z", "AA", "AZ", "BA"]);
    }
}
