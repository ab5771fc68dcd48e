//! Words that several reporters share.

use vmlab_protocol::message::LegOutcome;

use super::clean;
use crate::attempts::{Attempt, Attempts};
use crate::event::{Counts, LegReport};
use crate::schedule::Repetition;
use vmlab_console::{Finding, Severity};

/// What a leg found, on one clean line: `leaked: the name showed outside (0.4 ms)`.
#[must_use]
pub fn leg(report: &LegReport) -> String {
    let (word, detail) = match &report.outcome {
        LegOutcome::Available => ("available", String::new()),
        LegOutcome::Missing { evidence } => ("missing", clean::line(evidence)),
        LegOutcome::Isolated { detail } => ("isolated", clean::line(detail)),
        LegOutcome::Leaked { detail } => ("leaked", clean::line(detail)),
        LegOutcome::Failed { detail } => ("failed", clean::line(detail)),
        LegOutcome::Died { how } => ("died", clean::line(how)),
        LegOutcome::TimedOut { limit_ms } => ("timed out", format!("killed after {}", duration(*limit_ms))),
    };
    let colon = if detail.is_empty() { "" } else { ": " };
    let us = report.duration_ns / 1000;
    format!("{word}{colon}{detail} ({}.{:03} ms)", us / 1000, us % 1000)
}

/// What to call a report of the kernel's that is no crash.
#[must_use]
pub const fn warning(found: &Finding) -> &'static str {
    match found.severity {
        Severity::Note => "kernel note",
        Severity::Warned | Severity::Broken | Severity::Fatal => "kernel warning",
    }
}

/// A time span for people: `12 ms`, `3.2 s`, `2 min 5 s`.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// A line for each attempt that is worth one, `attempt 2: PASS (12 ms, guest 3)`: where failures are counted, for those
/// that failed. No more than `most`, and one that tells of the others.
#[must_use]
pub fn attempts(attempts: &Attempts, repetition: Repetition, most: usize) -> Vec<String> {
    let told = |attempt: &&Attempt| !repetition.measures() || attempt.verdict.class().is_failure();
    let all: Vec<_> = attempts.kept.iter().filter(told).collect();
    let mut lines: Vec<_> = all.iter().take(most).map(|attempt| self::attempt(attempt, repetition)).collect();
    let failed = usize::try_from(attempts.failures).unwrap_or(usize::MAX);
    let others = if repetition.measures() { failed } else { all.len() }.saturating_sub(lines.len());
    lines.extend((others > 0).then(|| format!("and {} more", count(others, repetition.noun()))));
    lines
}

fn attempt(attempt: &Attempt, repetition: Repetition) -> String {
    let guest = attempt.guest.map(|guest| format!(", guest {guest}")).unwrap_or_default();
    let detail = clean::line(attempt.verdict.detail());
    let colon = if detail.is_empty() { "" } else { ": " };
    let (noun, word, took) = (repetition.noun(), attempt.verdict.word(), duration(attempt.duration_ms));
    format!("{noun} {}: {word} ({took}{guest}){colon}{detail}", attempt.attempt)
}

/// `1 kernel`, `2 kernels`.
#[must_use]
pub fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// How many scenarios ended how: `90 passed, 4 skipped, 2 failed`; those of which there are none are left out.
#[must_use]
pub fn counts(counts: &Counts) -> String {
    let all = [
        (counts.good, "passed"),
        (counts.skipped, "skipped"),
        (counts.flaky, "flaky"),
        (counts.bad, "failed"),
        (counts.timed_out, "timed out"),
        (counts.crashed, "with a crashed kernel"),
        (counts.lab, "failed in the lab"),
        (counts.not_run, "not run"),
    ];
    let some: Vec<_> = all.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if some.is_empty() { "nothing to run".to_owned() } else { some.join(", ") }
}

#[cfg(test)]
mod tests {
    use vmlab_protocol::message::Leg;

    use super::*;

    #[test]
    fn time_spans_are_short() {
        let spans = [0, 999, 1000, 3249, 59_999, 60_000, 125_000].map(duration);
        assert_eq!(spans, ["0 ms", "999 ms", "1.0 s", "3.2 s", "59.9 s", "1 min 0 s", "2 min 5 s"]);
    }

    #[test]
    fn counts_leave_out_what_there_is_none_of() {
        assert_eq!(
            counts(&Counts { good: 90, skipped: 4, bad: 2, ..Counts::default() }),
            "90 passed, 4 skipped, 2 failed"
        );
        assert_eq!(counts(&Counts::default()), "nothing to run");
        assert_eq!((count(1, "kernel"), count(2, "kernel")), ("1 kernel".to_owned(), "2 kernels".to_owned()));
    }

    #[test]
    fn a_leg_is_one_line() {
        let outcome = LegOutcome::Leaked { detail: "a\nb\x1b".to_owned() };
        let report = LegReport { leg: Leg::Subject, outcome, duration_ns: 1_234_567 };
        assert_eq!(leg(&report), "leaked: a\\nb\\x1b (1.234 ms)");
    }
}
