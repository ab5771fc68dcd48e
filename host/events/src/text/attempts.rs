//! What the attempts at a job came to.

use super::{count, duration};
use crate::attempts::{Attempt, Attempts};
use crate::clean;
use crate::schedule::Repetition;

/// A line for each attempt, `attempt 2: PASS (12 ms, guest 3)`; where failures are counted, for those that failed. At
/// most `most` lines, and a line with the number of the others.
#[must_use]
pub fn attempts(attempts: &Attempts, repetition: Repetition, most: usize) -> Vec<String> {
    let is_shown = |attempt: &&Attempt| !repetition.measures() || attempt.verdict.class().is_failure();
    let all: Vec<_> = attempts.kept.iter().filter(is_shown).collect();
    let mut lines: Vec<_> = all.iter().take(most).map(|shown| attempt(shown)).collect();
    let failed = usize::try_from(attempts.failures).unwrap_or(usize::MAX);
    let others = if repetition.measures() { failed } else { all.len() }.saturating_sub(lines.len());
    lines.extend((others > 0).then(|| format!("and {} more", count(others, "attempt"))));
    lines
}

fn attempt(attempt: &Attempt) -> String {
    let guest = attempt.guest.map(|guest| format!(", guest {guest}")).unwrap_or_default();
    let detail = clean::line(&attempt.verdict.detail());
    let colon = if detail.is_empty() { "" } else { ": " };
    let (label, took) = (attempt.verdict.label(), duration(attempt.duration_ms));
    format!("attempt {}: {label} ({took}{guest}){colon}{detail}", attempt.attempt)
}
