//! Reads test results: KTAP versions 1 and 2 (the kernel's Documentation/dev-tools/ktap.rst and the draft after it), and
//! TAP versions 13 and 14 (testanything.org), from a log that may have anything else between its lines. No IO.
//!
//! What is not as the format has it is a [`Problem`] and never a silent repair: a log that was cut, a number that is
//! missing or comes twice, a result that contradicts those below it. Lines of no known form are counted and change
//! nothing, as ktap.rst has it. All that is kept has a bound.

mod line;
mod reader;

use std::fmt;

pub use line::{Directive, Flavour};
pub use reader::Reader;

/// The longest line, in bytes; a longer one is cut there and is a problem.
pub const MAX_LINE: usize = 64 << 10;
/// The deepest nesting, the outermost level being 1.
pub const MAX_DEPTH: usize = 32;
/// The most tests of one document, on all levels together.
pub const MAX_TESTS: usize = 1 << 20;
/// The most text of one document that is kept, in bytes: names, data and diagnostics together.
pub const MAX_TEXT: usize = 64 << 20;
/// The most problems that are kept; more are counted.
pub const MAX_PROBLEMS: usize = 1000;

/// All that a log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The outermost tests.
    pub block: Block,
    /// The reason given with `Bail out!`, after which nothing counts.
    pub bail_out: Option<String>,
    /// What is not as the format has it, in the order in which it was noticed.
    pub problems: Vec<Problem>,
    /// Problems beyond [`MAX_PROBLEMS`].
    pub more_problems: u64,
    /// Lines within the document that are of no known form.
    pub unknown_lines: u64,
}

impl Document {
    /// Whether everything is there, and as the format has it. Tests may have failed all the same.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.bail_out.is_none()
    }
}

/// Tests of one level that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// What its version line says, if it has one.
    pub flavour: Option<Flavour>,
    /// What its `# Subtest:` line says, if it has one.
    pub name: Option<String>,
    /// How many tests were announced.
    pub plan: Option<u64>,
    /// Why nothing was run, where the plan is `1..0 # SKIP reason`.
    pub skipped: Option<String>,
    /// In the order of the log.
    pub tests: Vec<Test>,
    /// Diagnostic lines after the last test, without their `# `.
    pub diagnostics: Vec<String>,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// As written, or the next one where none is.
    pub number: u64,
    /// Its description, without the hyphen before it.
    pub name: String,
    /// Whether its line begins with `ok`. False where it has no line.
    pub ok: bool,
    /// What its line says beside that.
    pub directive: Option<Directive>,
    /// The rest of its line: diagnostic data or the directive's reason.
    pub data: String,
    /// The diagnostic lines before its line, without their `# `.
    pub diagnostics: Vec<String>,
    /// The tests below it.
    pub subtests: Option<Block>,
    /// Number of its line in the log, from 1.
    pub line: u64,
}

/// What came of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It was not run.
    Skipped,
    /// It was expected to fail: TODO or XFAIL.
    ExpectedFailure,
    /// It was ended by a time limit.
    TimedOut,
    /// It could not be run as it should.
    Error,
}

impl Test {
    /// What came of it. A directive beats `ok`, so that `ok 1 # TIMEOUT` is no pass.
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

    /// Whether it makes the test above it fail.
    const fn is_bad(&self) -> bool {
        matches!(self.outcome(), Outcome::Failed | Outcome::TimedOut | Outcome::Error)
    }
}

/// Something that is not as the format has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Number of the line where it was noticed, from 1; for what is missing, the last one.
    pub line: u64,
    /// What it is.
    pub what: Fault,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no document.
    #[error("there is no version line, as `KTAP version 1`")]
    NoVersion,
    /// A version that this reader does not know; it is read as KTAP 1.
    #[error("the version is not known: {0}")]
    UnknownVersion(Flavour),
    /// A version line in the middle of a level.
    #[error("a second version line")]
    SecondVersion,
    /// Nothing tells whether tests are missing.
    #[error("{} no plan", .0.as_ref().map_or_else(|| "there is".to_owned(), |name| format!("{name} has")))]
    NoPlan(Option<String>),
    /// A level has two.
    #[error("a second plan")]
    SecondPlan,
    /// Fewer tests than were announced.
    #[error("{} {found} of {planned} tests", whose(.name))]
    Missing {
        /// Of the level, from its `# Subtest:` line.
        name: Option<String>,
        /// As the plan says.
        planned: u64,
        /// As there are.
        found: u64,
    },
    /// More tests than were announced.
    #[error("{} {found} tests, {planned} were announced", whose(.name))]
    Extra {
        /// Of the level, from its `# Subtest:` line.
        name: Option<String>,
        /// As the plan says.
        planned: u64,
        /// As there are.
        found: u64,
    },
    /// A result of KTAP that has no number.
    #[error("a result without a number")]
    NoNumber,
    /// A number that the same level has already.
    #[error("test {0} comes twice")]
    Duplicate(u64),
    /// Another number than the next one.
    #[error("test {found} comes where test {expected} was due")]
    OutOfOrder {
        /// The next one.
        expected: u64,
        /// As written.
        found: u64,
    },
    /// A number with more digits than can be.
    #[error("a number that is too large")]
    NumberTooLarge,
    /// Tests that no result of the level above follows. They are kept below a test that did not pass.
    #[error("subtests without the result of their test")]
    Orphans,
    /// A test is `ok` and one below it is not.
    #[error("test {0} is ok and has a subtest that is not")]
    Contradiction(u64),
    /// A block between `---` and `...` does not end.
    #[error("a block of YAML does not end")]
    OpenYaml,
    /// A line of more than [`MAX_LINE`] bytes, cut there.
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
