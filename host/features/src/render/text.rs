//! The table for a terminal.

use unicode_width::UnicodeWidthStr;
use vmlab_events::text;

use super::{OTHER_FINDINGS, findings};
use crate::findings::Finding;
use crate::results::Kernel;
use crate::table::{Report, Row, Rows};
use crate::versions::{Judgement, Value, VersionRow};

/// The width where nothing says how wide the terminal is.
const COLUMNS: usize = 120;
/// The most characters of a kernel's options in the head of a table.
const MAX_OPTIONS: usize = 16;
/// The words of a feature get no fewer columns.
const MIN_WORDS: usize = 20;

/// The whole report. `columns` limits the lines, except where the table itself is wider.
pub(super) fn render(report: &Report, columns: Option<usize>) -> String {
    let columns = columns.unwrap_or(COLUMNS).max(60);
    let mut out = format!("Features on {}\n", text::count(report.kernels.len(), "kernel"));
    out.push_str(&format!("{}: {}\n", if report.runs.len() == 1 { "run" } else { "runs" }, report.runs.join(", ")));
    for unfinished in &report.unfinished {
        out.push_str(&paragraph("", &unfinished.sentence(), columns));
    }
    out.push('\n');
    out.push_str(&legend(report, columns));
    for group in &report.groups {
        out.push_str(&format!("\n{}\n", group.title));
        out.push_str(&grid(group, &report.kernels, columns));
    }
    out.push_str("\n\nThe features one by one\n");
    for row in report.groups.iter().flat_map(|group| &group.features) {
        out.push_str(&details(row, &report.kernels, columns));
    }
    out.push_str("\n\nDifferences between kernel versions\n");
    let marks = "(EPERM ! (ok): EPERM was observed, and ok is expected; SKIP ? (ok): the scenario's text has none of the row's \
                 values)";
    out.push_str(&paragraph("", marks, columns));
    out.push_str(&versions(&report.versions, &report.kernels, columns));
    out.push_str("\n\nFINDINGS: where a kernel and a text disagree\n");
    let (of_these, others) = findings(report);
    of_these.into_iter().for_each(|found| out.push_str(&finding(found, columns)));
    if !others.is_empty() {
        out.push_str(&format!("\n{}", paragraph(OTHER_FINDINGS, &others.join(", "), columns)));
    }
    out
}

fn legend(report: &Report, columns: usize) -> String {
    let kernels: Vec<_> = report
        .kernels
        .iter()
        .map(|kernel| [&kernel.short, &kernel.target, &kernel.release].map(String::clone).to_vec())
        .collect();
    let words: Vec<_> =
        report.counts().iter().map(|(kind, _)| vec![kind.label().to_owned(), kind.meaning().to_owned()]).collect();
    let counts = report.counts().into_iter().map(|(kind, numbers)| {
        let mut line = vec![kind.label().to_owned()];
        line.extend(numbers.iter().map(usize::to_string));
        line
    });
    let mut head = vec!["features".to_owned()];
    head.extend(report.kernels.iter().map(|kernel| kernel.short.clone()));
    let counts: Vec<_> = std::iter::once(head).chain(counts).collect();
    let options = report
        .kernels
        .iter()
        .filter(|kernel| !kernel.machine.is_empty())
        .map(|kernel| paragraph(&format!("  {} was started with ", kernel.short), &kernel.machine, columns));
    let options: String = options.collect();
    format!("{}{options}\n{}\n{}", aligned(&kernels), aligned(&words), aligned(&counts))
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
    let cells = |row: &Row| row.cells.iter().map(|cell| cell.text.clone()).collect();
    let lines: Vec<_> =
        group.features.iter().map(|row| (row.feature.code.as_str(), row.feature.words.as_str(), cells(row))).collect();
    table(&lines, kernels, columns)
}

/// Code, words, and a cell for each kernel. Words that do not fit into what is left of the line continue on the next.
fn table(lines: &[(&str, &str, Vec<String>)], kernels: &[Kernel], columns: usize) -> String {
    let width_of = |at: usize| lines.iter().filter_map(|(.., cells)| cells.get(at)).map(|cell| cell.width()).max();
    let width_of_head = |kernel: &Kernel| kernel.short.width().max(kernel.machine_in_short(MAX_OPTIONS).width());
    let widths: Vec<_> =
        kernels.iter().enumerate().map(|(at, kernel)| width_of_head(kernel).max(width_of(at).unwrap_or(0))).collect();
    let code = lines.iter().map(|(code, ..)| code.width()).max().unwrap_or(0);
    let taken = 2 + code + 2 + widths.iter().map(|width| width + 2).sum::<usize>();
    let longest = lines.iter().map(|(_, words, _)| words.width()).max().unwrap_or(0);
    let words_width = longest.min(columns.saturating_sub(taken).max(MIN_WORDS));
    let line = |first: &str, words: &str, cells: &[String]| {
        let cells: Vec<_> = cells.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        let words = pad(words, words_width);
        format!("  {}  {words}  {}", pad(first, code), cells.join("  ")).trim_end().to_owned() + "\n"
    };
    let heads: Vec<_> = kernels.iter().map(|kernel| kernel.short.clone()).collect();
    let mut out = line("", "", &heads);
    if kernels.iter().any(|kernel| !kernel.machine.is_empty()) {
        let options = kernels.iter().map(|kernel| kernel.machine_in_short(MAX_OPTIONS));
        out.push_str(&line("", "", &options.collect::<Vec<_>>()));
    }
    for (code, words, cells) in lines {
        let broken = paragraph("", words, words_width);
        let mut parts = broken.lines();
        out.push_str(&line(code, parts.next().unwrap_or_default(), cells));
        parts.for_each(|part| out.push_str(&line("", part, &[])));
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

/// A value; with a mark and the expected value, if it is not simply the expected one.
fn short(value: &Value) -> String {
    let mark = match value.judgement {
        Judgement::Different => "!",
        Judgement::Unclear => "?",
        Judgement::AsExpected | Judgement::NoExpectation | Judgement::NotRun => "",
    };
    let expected = value.expected.as_ref().filter(|_| !mark.is_empty()).map(|expected| format!(" ({expected})"));
    format!("{} {mark}{}", value.value, expected.unwrap_or_default()).trim_end().to_owned()
}

fn finding(finding: &Finding, columns: usize) -> String {
    let Finding { name, features, kernels, says, does, right, source, because, reproduce, prints } = finding;
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
    out.push_str(&command(&format!("    {:<11}", "reproduce"), reproduce, columns));
    out.push_str(&paragraph(&format!("    {:<11}", "prints"), prints, columns));
    out
}

/// A command, broken for the shell at blanks outside of quotes, so that it can be copied. A quoted word that is longer than the
/// line stays whole.
fn command(head: &str, command: &str, columns: usize) -> String {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        match (c, quote) {
            (' ', None) => words.push(String::new()),
            (c, _) => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    let mut out = head.to_owned();
    let mut at = head.width();
    for (n, word) in words.iter().enumerate() {
        // The blank and the backslash after the word need two columns.
        if n > 0 && at + 1 + word.width() + 2 > columns {
            out.push_str(&format!(" \\\n{}", " ".repeat(head.width())));
            at = head.width();
        } else if n > 0 {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += word.width();
    }
    out + "\n"
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::report;

    #[test]
    fn lines_fit_the_terminal() {
        for columns in [100, 120] {
            let text = render(&report(), Some(columns));
            // A quoted word of a command stays whole.
            for line in text.lines() {
                assert!(line.width() <= columns || line.contains('\''), "{}: {line}", line.width());
            }
        }
    }

    #[test]
    fn words_that_do_not_fit_continue_on_the_next_line() {
        let text = render(&report(), Some(80));
        assert!(!text.contains('…'), "words were cut");
        assert_eq!(paragraph("  a: ", "one two three", 12), "  a: one two\n     three\n");
    }

    #[test]
    fn a_command_is_broken_outside_of_quotes_only() {
        let broken = command("  ", "vmlab exec -k x -- sh -c 'echo a b c d' y", 18);
        assert_eq!(broken, "  vmlab exec -k \\\n  x -- sh -c \\\n  'echo a b c d' \\\n  y\n");
    }

    #[test]
    fn a_value_that_differs_has_a_mark_and_the_expected_value() {
        let value = |expected: Option<&str>, judgement| {
            short(&Value {
                expected: expected.map(str::to_owned),
                value: "EPERM".to_owned(),
                observed: String::new(),
                judgement,
            })
        };
        assert_eq!(value(Some("ok"), Judgement::Different), "EPERM ! (ok)");
        assert_eq!(value(Some("ok"), Judgement::Unclear), "EPERM ? (ok)");
        assert_eq!(value(Some("EPERM"), Judgement::AsExpected), "EPERM");
        assert_eq!(value(None, Judgement::NoExpectation), "EPERM");
    }
}
