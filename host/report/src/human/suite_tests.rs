//! The tests of a KUnit suite.

use vmlab_events::event::JobReport;
use vmlab_events::suite::{Outcome, TestReport};
use vmlab_events::{clean, text};

/// The most characters of a line.
const MAX_CHARS: usize = 300;
/// Before every line.
const INDENT: &str = "      ";

/// A line for each test: `PASS  list_test_list_init`.
#[must_use]
pub fn lines(report: &JobReport) -> String {
    report.tests.iter().map(|test| format!("{INDENT}{}\n", line(test))).collect()
}

/// One test, and in a few words why it was skipped.
#[must_use]
pub fn line(test: &TestReport) -> String {
    let (label, name) = (test.label(), clean::line(&test.name));
    let why = match (test.result, test.detail.first()) {
        (Outcome::Skipped | Outcome::ExpectedFailure, Some(why)) => format!(": {}", clean::line(why)),
        _ => String::new(),
    };
    clean::cut(&format!("{label:<5} {name}{why}"), MAX_CHARS)
}

/// A test that failed with what it says, at most so many lines of it; and with `all` also the others.
pub fn paragraph(test: &TestReport, all: bool, most: usize, line_of: &mut impl FnMut(&str)) {
    if !all && !test.result.is_failure() {
        return;
    }
    line_of(&line(test));
    if test.result.is_failure() {
        let shown = test.detail.iter().take(most);
        shown.for_each(|detail| line_of(&format!("  | {}", clean::cut(&clean::line(detail), MAX_CHARS))));
        if let Some(more) = test.detail.len().checked_sub(most).filter(|more| *more > 0) {
            line_of(&format!("  | ({} left out)", text::count(more, "later line")));
        }
    }
}
