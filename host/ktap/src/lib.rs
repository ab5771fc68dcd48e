//! Reads test results: KTAP versions 1 and 2 (the kernel's Documentation/dev-tools/ktap.rst and the draft after it), and
//! TAP versions 13 and 14 (testanything.org), from a log that may have anything else between its lines. No IO.
//!
//! A deviation from the format is a [`Problem`], never a silent repair: a truncated log, a missing or repeated number, a result
//! that contradicts the results below it. Lines of unknown form are no problem, as ktap.rst requires: they are counted, and kept
//! with the diagnostics. The memory in use is bounded.

mod line;
mod reader;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use line::{Directive, Flavour};
pub use reader::Reader;

/// The longest line, in bytes. A longer line is truncated and is a problem.
pub const MAX_LINE: usize = 64 << 10;
/// The deepest level; the outermost level is 1.
pub const MAX_DEPTH: usize = 32;
/// The largest number of tests of one document, on all levels together.
pub const MAX_TESTS: usize = 1 << 20;
/// The most text that is kept of one document, in bytes: names, data and diagnostics together.
pub const MAX_TEXT: usize = 64 << 20;
/// The largest number of problems that are kept. Further problems are only counted.
pub const MAX_PROBLEMS: usize = 1000;

/// The content of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The outermost tests.
    pub block: Block,
    /// The reason of `Bail out!`. Results after it do not count.
    pub bail_out: Option<String>,
    /// Deviations from the format, in the order in which they were noticed.
    pub problems: Vec<Problem>,
    /// The number of problems beyond [`MAX_PROBLEMS`].
    pub more_problems: u64,
    /// The number of lines of unknown form within the document.
    pub unknown_lines: u64,
}

impl Document {
    /// Whether the document is complete and well-formed. Tests may have failed nevertheless.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.bail_out.is_none()
    }
}

/// Tests of one level that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// The format of the version line, if there is one.
    pub flavour: Option<Flavour>,
    /// The name of the `# Subtest:` line, if there is one.
    pub name: Option<String>,
    /// The announced number of tests.
    pub plan: Option<u64>,
    /// The reason of a plan `1..0 # SKIP reason`.
    pub skipped: Option<String>,
    /// The tests, in the order of the log.
    pub tests: Vec<Test>,
    /// Diagnostic lines after the last test, without their `# `.
    pub diagnostics: Vec<String>,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The number as written; without one, the next number.
    pub number: u64,
    /// The description, without the hyphen before it.
    pub name: String,
    /// Whether the test's line begins with `ok`. False for a test without a line.
    pub ok: bool,
    /// The directive of the line.
    pub directive: Option<Directive>,
    /// The rest of the line: diagnostic data or the directive's reason.
    pub data: String,
    /// The diagnostic lines before the line, without their `# `, and the lines of unknown form between them.
    pub diagnostics: Vec<String>,
    /// The tests below it.
    pub subtests: Option<Block>,
    /// The number of the line in the log, from 1.
    pub line: u64,
}

/// A test's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The test passed.
    Passed,
    /// The test failed.
    Failed,
    /// The test was not run.
    Skipped,
    /// The test was expected to fail: TODO or XFAIL.
    ExpectedFailure,
    /// A time limit ended the test.
    TimedOut,
    /// The test could not be run correctly.
    Error,
}

impl Outcome {
    /// Whether this result makes the test above fail.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut | Self::Error)
    }
}

impl Test {
    /// The test's result. A directive takes precedence over `ok`, so that `ok 1 # TIMEOUT` is no pass.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match (self.directive, self.ok) {
            (Some(Directive::Skip), _) => Outcome::Skipped,
            (Some(Directive::Timeout), _) => Outcome::TimedOut,
            (Some(Directive::Error), _) => Outcome::Error,
            (Some(Directive::Todo | Directive::Xfail), false) => Outcome::ExpectedFailure,
            (Some(Directive::Todo | Directive::Xfail) | None, true) => Outcome::Passed,
            (None, false) => Outcome::Failed,
        }
    }
}

/// A deviation from the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The number, from 1, of the line where it was noticed; for a missing line, that of the last line.
    pub line: u64,
    /// The kind of deviation.
    pub what: Fault,
}

/// The kinds of deviation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The log has no document.
    #[error("there is no version line, as `KTAP version 1`")]
    NoVersion,
    /// An unknown version; the document is read as KTAP 1.
    #[error("the version is not known: {0}")]
    UnknownVersion(Flavour),
    /// A version line in the middle of a level.
    #[error("a second version line")]
    SecondVersion,
    /// A level has no plan, so missing tests cannot be noticed.
    #[error("{} no plan", .0.as_ref().map_or_else(|| "there is".to_owned(), |name| format!("{name} has")))]
    NoPlan(Option<String>),
    /// A level has two plans.
    #[error("a second plan")]
    SecondPlan,
    /// Fewer tests than were announced.
    #[error("{} {found} of {planned} tests", whose(.name))]
    Missing {
        /// The level's name, from its `# Subtest:` line.
        name: Option<String>,
        /// The number in the plan.
        planned: u64,
        /// The number of tests.
        found: u64,
    },
    /// More tests than were announced.
    #[error("{} {found} tests, {planned} were announced", whose(.name))]
    Extra {
        /// The level's name, from its `# Subtest:` line.
        name: Option<String>,
        /// The number in the plan.
        planned: u64,
        /// The number of tests.
        found: u64,
    },
    /// A result of KTAP without a number.
    #[error("a result without a number")]
    NoNumber,
    /// A number that an earlier test of the level has.
    #[error("test {0} comes twice")]
    Duplicate(u64),
    /// A number out of order.
    #[error("test {found} comes where test {expected} was due")]
    OutOfOrder {
        /// The next number.
        expected: u64,
        /// The number as written.
        found: u64,
    },
    /// A number that is too large.
    #[error("a number that is too large")]
    NumberTooLarge,
    /// Tests without a following result on the level above. They are kept below an added test that did not pass.
    #[error("subtests without the result of their test")]
    Orphans,
    /// A test is `ok` although a test below it is not.
    #[error("test {0} is ok and has a subtest that is not")]
    Contradiction(u64),
    /// A block that begins with `---` does not end.
    #[error("a block of YAML does not end")]
    OpenYaml,
    /// A line of more than [`MAX_LINE`] bytes; the rest of the line is left out.
    #[error("a line of more than {MAX_LINE} bytes")]
    LineTooLong,
    /// A level below [`MAX_DEPTH`]; the line is left out.
    #[error("more than {MAX_DEPTH} levels")]
    TooDeep,
    /// More tests than [`MAX_TESTS`]; the rest is left out.
    #[error("more than {MAX_TESTS} tests")]
    TooManyTests,
    /// More text than [`MAX_TEXT`]; the rest of the text is left out.
    #[error("more than {MAX_TEXT} bytes of text")]
    TooMuchText,
}

fn whose(name: &Option<String>) -> String {
    name.as_ref().map_or_else(|| "there are".to_owned(), |name| format!("{name} has"))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Reads a whole log.
#[must_use]
pub fn read(log: &[u8]) -> Document {
    let mut reader = Reader::default();
    reader.push(log);
    reader.finish()
}

#[cfg(test)]
mod tests;
