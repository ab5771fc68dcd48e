//! The table for a terminal.

use unicode_width::UnicodeWidthStr;
use vmlab_events::text;

use crate::findings::Finding;
use crate::results::Kernel;
use crate::table::{Report, Row, Rows};
use crate::versions::{Judgement, Value, VersionRow};

/// The width where nothing says how wide the terminal is.
const COLUMNS: usize = 120;
/// The words of a feature are not cut to less.
const MIN_WORDS: usize = 24;

/// The whole report. `columns` limits the lines, except where the table itself is wider.
pub(super) fn render(report: &Report, columns: Option<usize>) -> String {
    let columns = columns.unwrap_or(COLUMNS).max(60);
    let mut out = format!("Features on {}\n", text::count(report.kernels.len(), "kernel"));
    out.push_str(&format!("{}: {}\n\n", if report.runs.len() == 1 { "run" } else { "runs" }, report.runs.join(", ")));
    out.push_str(&legend(report));
    for group in &report.groups {
        out.push_str(&format!("\n{}\n", group.title));
        out.push_str(&grid(group, &report.kernels, columns));
    }
    out.push_str("\n\nThe features one by one\n");
    for row in report.groups.iter().flat_map(|group| &group.features) {
        out.push_str(&details(row, &report.kernels, columns));
    }
    out.push_str("\n\nDifferences between kernel versions\n");
    out.push_str("(!: not the expected value; ?: the scenario's text has none of the row's values)\n");
    out.push_str(&versions(&report.versions, &report.kernels, columns));
    out.push_str("\n\nFINDINGS: where a kernel and a text disagree\n");
    report.findings.iter().for_each(|found| out.push_str(&finding(found, columns)));
    out
}

fn legend(report: &Report) -> String {
    let kernels: Vec<_> = report
        .kernels
        .iter()
        .map(|kernel| vec![kernel.short.clone(), kernel.target.clone(), kernel.release.clone()])
        .collect();
    let words: Vec<_> = report.counts().iter().map(|(kind, _)| vec![kind.label(), kind.meaning().to_owned()]).collect();
    let counts = report.counts().into_iter().map(|(kind, numbers)| {
        let mut line = vec![kind.label()];
        line.extend(numbers.iter().map(usize::to_string));
        line
    });
    let mut head = vec!["features".to_owned()];
    head.extend(report.kernels.iter().map(|kernel| kernel.short.clone()));
    let counts: Vec<_> = std::iter::once(head).chain(counts).collect();
    format!("{}\n{}\n{}", aligned(&kernels), aligned(&words), aligned(&counts))
}

/// Rows in columns, indented.
fn aligned(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0))
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width));
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn grid(group: &Rows, kernels: &[Kernel], columns: usize) -> String {
    let cells = |row: &Row| row.cells.iter().map(|cell| cell.summary.label()).collect();
    let lines: Vec<_> =
        group.features.iter().map(|row| (row.feature.code.as_str(), row.feature.words.as_str(), cells(row))).collect();
    table(&lines, kernels, columns)
}

/// Code, words, and a cell for each kernel. The words are cut to what is left of the line.
fn table(lines: &[(&str, &str, Vec<String>)], kernels: &[Kernel], columns: usize) -> String {
    let width_of = |at: usize| lines.iter().filter_map(|(.., cells)| cells.get(at)).map(|cell| cell.width()).max();
    let widths: Vec<_> =
        kernels.iter().enumerate().map(|(at, kernel)| kernel.short.width().max(width_of(at).unwrap_or(0))).collect();
    let code = lines.iter().map(|(code, ..)| code.width()).max().unwrap_or(0);
    let taken = 2 + code + 2 + widths.iter().map(|width| width + 2).sum::<usize>();
    let longest = lines.iter().map(|(_, words, _)| words.width()).max().unwrap_or(0);
    let words_width = longest.min(columns.saturating_sub(taken).max(MIN_WORDS));
    let line = |first: &str, words: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<_> = cells.zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        let words = pad(&shorten(words, words_width), words_width);
        format!("  {}  {words}  {}", pad(first, code), cells.join("  ")).trim_end().to_owned() + "\n"
    };
    let mut out = line("", "", &mut kernels.iter().map(|kernel| kernel.short.as_str()));
    for (code, words, cells) in lines {
        out.push_str(&line(code, words, &mut cells.iter().map(String::as_str)));
    }
    out
}

fn details(row: &Row, kernels: &[Kernel], columns: usize) -> String {
    let feature = &row.feature;
    let asked = if feature.asked.is_empty() { "nobody in 2006".to_owned() } else { feature.asked_by() };
    let names: Vec<_> = row.scenarios.iter().map(ToString::to_string).collect();
    let scenarios = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut out = format!("\n{}", paragraph(&format!("{}: ", feature.code), &feature.words, columns));
    for (name, text) in [("asked by", &asked), ("today", &feature.today()), ("scenarios", &scenarios)] {
        out.push_str(&paragraph(&format!("    {name:<11}"), text, columns));
    }
    for note in row.notes(kernels) {
        out.push_str(&paragraph("    - ", &note, columns));
    }
    out
}

fn versions(rows: &[VersionRow], kernels: &[Kernel], columns: usize) -> String {
    let number = |row: &VersionRow| row.feature.code.trim_start_matches("version-").to_owned();
    let numbers: Vec<_> = rows.iter().map(number).collect();
    let cells = |row: &VersionRow| row.values.iter().map(short).collect();
    let lines: Vec<_> = rows
        .iter()
        .zip(&numbers)
        .map(|(row, number)| (number.as_str(), row.feature.words.as_str(), cells(row)))
        .collect();
    let mut out = table(&lines, kernels, columns);
    for (row, number) in rows.iter().zip(&numbers) {
        for (value, kernel) in row.values.iter().zip(kernels) {
            if matches!(value.judgement, Judgement::Different | Judgement::Unclear) {
                let expected = value.expected.as_deref().unwrap_or_default();
                let explained = format!("{}, expected {expected}: {}", value.judgement.label(), value.observed);
                out.push_str(&paragraph(&format!("  - {number} on {}: ", kernel.short), &explained, columns));
            }
        }
    }
    out
}

/// A value with a mark, if it is not simply the expected one.
fn short(value: &Value) -> String {
    let mark = match value.judgement {
        Judgement::Different => " !",
        Judgement::Unclear => " ?",
        Judgement::AsExpected | Judgement::NoExpectation | Judgement::NotRun => "",
    };
    format!("{}{mark}", value.value)
}

fn finding(finding: &Finding, columns: usize) -> String {
    let Finding { name, features, kernels, says, does, right, source, because, reproduce } = finding;
    let mut out = format!("\n{name} ({})\n", features.join(", "));
    for (head, text) in [
        ("kernels", kernels.as_str()),
        ("says", says),
        ("does", does),
        ("right is", right),
        ("source", source),
        ("because", because),
    ] {
        out.push_str(&paragraph(&format!("    {head:<11}"), text, columns));
    }
    // A command must stay on one line, so that it can be copied.
    out.push_str(&format!("    {:<11}{reproduce}\n", "reproduce"));
    out
}

/// Text after a head, broken at blanks; further lines are indented as deep as the head is wide, but at most 16 columns.
#[must_use]
pub fn paragraph(head: &str, text: &str, columns: usize) -> String {
    let indent = head.width().min(16);
    let mut out = head.to_owned();
    let mut at = head.width();
    let mut is_first = true;
    for word in text.split(' ') {
        if !is_first && at + 1 + word.width() > columns {
            out.push_str(&format!("\n{}", " ".repeat(indent)));
            at = indent;
        } else if !is_first {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += word.width();
        is_first = false;
    }
    out.trim_end().to_owned() + "\n"
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Cuts a text to a width, with an ellipsis.
fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        if out.width() + 2 > width {
            break;
        }
        out.push(c);
    }
    out.trim_end().to_owned() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::report;

    #[test]
    fn lines_fit_the_terminal() {
        for columns in [100, 120] {
            let text = render(&report(), Some(columns));
            for line in text.lines().filter(|line| !line.contains("  reproduce  ")) {
                assert!(line.width() <= columns, "{}: {line}", line.width());
            }
        }
    }

    #[test]
    fn words_that_do_not_fit_are_cut_with_an_ellipsis() {
        assert_eq!(shorten("twelve chars", 12), "twelve chars");
        assert_eq!(shorten("twelve chars", 8), "twelve…");
        assert_eq!(paragraph("  a: ", "one two three", 12), "  a: one two\n     three\n");
    }
}
