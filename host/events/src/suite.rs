//! What is known of the tests of a KUnit suite.

use serde::{Deserialize, Serialize};

pub use vmlab_ktap::Outcome;

/// The result of one test of a KUnit suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// The test's name; for one parameter of a test `TEST/PARAMETER`.
    pub name: String,
    /// How it ended.
    pub result: Outcome,
    /// Why, in the kernel's words: the reason of a skip, or the lines that the test printed before it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
}

impl TestReport {
    /// The result's printed form.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self.result {
            Outcome::Passed => "PASS",
            Outcome::Failed => "FAIL",
            Outcome::Skipped => "SKIP",
            Outcome::ExpectedFailure => "XFAIL",
            Outcome::TimedOut => "TIMEOUT",
            Outcome::Error => "ERROR",
        }
    }

    /// The line that says why: that of the failed expectation, if there is one.
    #[must_use]
    pub fn headline(&self) -> Option<&str> {
        let failed = self.detail.iter().find(|line| line.contains("FAILED"));
        failed.or_else(|| self.detail.first()).map(String::as_str)
    }
}
