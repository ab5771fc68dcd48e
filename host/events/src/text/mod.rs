//! The one place where typed details become text: verdicts, losses, violations, legs, attempts, counts. All reporters
//! show these texts.

mod attempts;
mod figures;
mod lacking;
mod leg;
mod lost;
mod verdict;
mod violation;

use crate::event::{Counts, JobReport};
use crate::job::JobSpec;

pub use attempts::attempts;
pub use figures::{cost, figures, measured, percent, ratio};
pub use leg::{leg, warning};

/// Parts of a sentence that are joined by semicolons; empty parts are left out.
struct Join(Vec<String>);

impl Join {
    fn new(first: String) -> Self {
        let mut parts = Self(Vec::new());
        parts.push(first);
        parts
    }

    fn push(&mut self, part: String) {
        if !part.is_empty() {
            self.0.push(part);
        }
    }

    fn extend(&mut self, parts: impl IntoIterator<Item = String>) {
        parts.into_iter().for_each(|part| self.push(part));
    }

    fn finish(&self) -> String {
        self.0.join("; ")
    }
}

/// The head of what a report says of the second guest of a job that runs in two: `the second guest: PASS`.
#[must_use]
pub fn second_guest(peer: &JobReport) -> String {
    let detail = crate::clean::line(&peer.verdict.detail());
    let rest = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    format!("the second guest: {}{rest}", peer.verdict.label())
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

/// `1 kernel`, `2 kernels`.
#[must_use]
pub fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// The kinds of jobs: in sentences, and as the head of a column.
const KINDS: [(&str, &str); 3] = [("scenario", "scenario"), ("KUnit suite", "suite"), ("command", "command")];

const fn kind(spec: &JobSpec) -> usize {
    match spec {
        JobSpec::Scenario(_) => 0,
        JobSpec::Kunit(_) => 1,
        JobSpec::Command(_) => 2,
    }
}

/// How many jobs of which kind: `40 scenarios and 1 KUnit suite`.
#[must_use]
pub fn jobs(specs: &[JobSpec]) -> String {
    let of_kind = |index: usize| specs.iter().filter(|spec| kind(spec) == index).count();
    let counts = KINDS.iter().enumerate().map(|(index, (name, _))| (of_kind(index), name));
    let some: Vec<_> = counts.filter(|(n, _)| *n > 0).map(|(n, name)| count(n, name)).collect();
    if some.is_empty() { count(0, KINDS[0].0) } else { some.join(" and ") }
}

/// What these jobs are, in one word: `scenario`.
#[must_use]
pub fn kind_of_jobs(specs: &[JobSpec]) -> &'static str {
    let first = specs.first().map_or(0, kind);
    if specs.iter().all(|spec| kind(spec) == first) { KINDS[first].1 } else { "job" }
}

/// How many scenarios ended how: `90 passed, 4 skipped, 2 failed`; classes without a scenario are left out.
#[must_use]
pub fn counts(counts: &Counts) -> String {
    let all = [
        (counts.good, "passed"),
        (counts.skipped, "skipped"),
        (counts.flaky, "flaky"),
        (counts.bad, "failed"),
        (counts.timed_out, "timed out"),
        (counts.crashed, "crashed"),
        (counts.lab, "without a result"),
        (counts.not_run, "not run"),
    ];
    let some: Vec<_> = all.iter().filter(|(n, _)| *n > 0).map(|(n, class)| format!("{n} {class}")).collect();
    if some.is_empty() { "nothing to run".to_owned() } else { some.join(", ") }
}

#[cfg(test)]
mod every_detail;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_short() {
        let spans = [0, 999, 1000, 3249, 59_999, 60_000, 125_000].map(duration);
        assert_eq!(spans, ["0 ms", "999 ms", "1.0 s", "3.2 s", "59.9 s", "1 min 0 s", "2 min 5 s"]);
    }

    #[test]
    fn counts_leave_out_empty_classes() {
        assert_eq!(
            counts(&Counts { good: 90, skipped: 4, bad: 2, ..Counts::default() }),
            "90 passed, 4 skipped, 2 failed"
        );
        assert_eq!(counts(&Counts::default()), "nothing to run");
        assert_eq!((count(1, "kernel"), count(2, "kernel")), ("1 kernel".to_owned(), "2 kernels".to_owned()));
    }
}
