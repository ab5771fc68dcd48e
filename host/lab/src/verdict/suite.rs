//! The verdict on a KUnit suite from its results, which are KTAP (the kernel's Documentation/dev-tools/ktap.rst). Pure.

use vmlab_events::job::SuiteId;
use vmlab_events::suite::TestReport;
use vmlab_events::verdict::{Failure, SkipReason, Verdict};
use vmlab_ktap::{Block, Directive, Document, Fault, Outcome, Test};

/// The most lines of a test's own text that are kept.
const MAX_DETAIL: usize = 20;
/// The outermost level, which debugfs did not print until 6.0.
const HEAD: &[u8] = b"TAP version 14\n1..1\n";

/// What a suite's results say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SuiteResults {
    /// The results of its run, in order.
    pub tests: Vec<TestReport>,
    /// Why nothing ran, if the suite says so.
    skipped: Option<SkipReason>,
    /// Why the results are incomplete.
    problem: Option<String>,
}

impl SuiteResults {
    /// Reads the suite's output. `dropped` is the number of bytes that are missing.
    #[must_use]
    pub fn read(suite: &SuiteId, output: &[u8], dropped: u64) -> Self {
        let document = document(output);
        let skipped = match document.block.tests.as_slice() {
            [Test { directive: Some(Directive::Skip), subtests: None, data, .. }] => {
                Some(SkipReason::TestsSkipped { why: data.clone() })
            }
            [Test { subtests: Some(block), .. }] if block.plan == Some(0) => Some(SkipReason::NoTests),
            _ => None,
        };
        let problem = match dropped {
            0 => problem(suite.suite(), &document),
            _ => Some(format!("{dropped} bytes of them are beyond the limit of output")),
        };
        Self { tests: tests_of(&document), skipped, problem }
    }

    /// The verdict on a suite that ran to its end.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        // First, because a test that was cut off counts as failed, too.
        if let Some(problem) = &self.problem {
            return Verdict::Failed { reason: Failure::BadResults { problem: problem.clone() } };
        }
        let failed = self.tests.iter().filter(|test| test.result.is_failure());
        let failed: Vec<_> = failed.map(|test| test.name.clone()).collect();
        if !failed.is_empty() {
            return Verdict::Failed { reason: Failure::TestsFailed { failed, of: self.tests.len() } };
        }
        if let Some(reason) = &self.skipped {
            return Verdict::Skipped { reason: reason.clone() };
        }
        match self.tests.first() {
            Some(first) if self.tests.iter().all(|test| test.result == Outcome::Skipped) => {
                Verdict::Skipped { reason: SkipReason::TestsSkipped { why: first.detail.join(" ") } }
            }
            _ => Verdict::Passed,
        }
    }
}

fn document(text: &[u8]) -> Document {
    let starts = |head: &[u8]| text.trim_ascii_start().starts_with(head);
    if starts(b"KTAP version") || starts(b"TAP version") {
        vmlab_ktap::read(text)
    } else {
        vmlab_ktap::read(&[HEAD, text].concat())
    }
}

/// Why a suite's results do not say how each of its tests ended.
fn problem(suite: &str, document: &Document) -> Option<String> {
    // KUnit does not say how many parameters a test has.
    let is_of_parameters = |fault: &Fault| matches!(fault, Fault::NoPlan(Some(name)) if name != suite);
    if let Some(problem) = document.problems.iter().find(|problem| !is_of_parameters(&problem.what)) {
        return Some(problem.to_string());
    }
    if let Some(reason) = &document.bail_out {
        return Some(format!("they were broken off: {reason}"));
    }
    match document.block.tests.as_slice() {
        [test] if test.name != suite => Some(format!("they are of the suite `{}`", test.name)),
        [Test { subtests: None, directive: None, .. }] => Some("they have no tests".to_owned()),
        [test] if !test.ok && tests_of(document).iter().all(|test| !test.result.is_failure()) => {
            Some("the suite failed, and none of its tests did".to_owned())
        }
        [_] => None,
        tests => Some(format!("they are of {} suites", tests.len())),
    }
}

/// The results of all tests without subtests below the suites of a document.
fn tests_of(document: &Document) -> Vec<TestReport> {
    let mut tests = Vec::new();
    for suite in &document.block.tests {
        if let Some(block) = &suite.subtests {
            collect(block, "", &mut tests);
        }
    }
    tests
}

fn collect(block: &Block, above: &str, tests: &mut Vec<TestReport>) {
    for test in &block.tests {
        let name = format!("{above}{}", test.name);
        let before = tests.len();
        if let Some(below) = &test.subtests {
            collect(below, &format!("{name}/"), tests);
        }
        // A test that failed although no parameter of it did, and one without parameters, has its own result.
        let known = tests.get(before..).unwrap_or_default();
        if known.is_empty() || test.outcome().is_failure() && !known.iter().any(|test| test.result.is_failure()) {
            tests.push(TestReport { name, result: test.outcome(), detail: detail(test) });
        }
    }
}

/// What a test that did not pass says of itself.
fn detail(test: &Test) -> Vec<String> {
    if test.outcome() == Outcome::Passed {
        return Vec::new();
    }
    let data = Some(test.data.clone()).filter(|data| !data.is_empty());
    data.into_iter().chain(test.diagnostics.iter().take(MAX_DETAIL).map(|line| line.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests;
