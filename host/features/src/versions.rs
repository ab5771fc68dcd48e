//! The table of differences between kernel versions: the value that was observed, and whether it is the expected one. Pure.

use serde::Serialize;
use vmlab_protocol::catalogue::ScenarioId;

use super::list::Feature;
use super::outcome::{Outcome, State};
use super::results::Kernel;

/// The value that stands for a scenario that passes.
const OK: &str = "ok";

/// A row.
#[derive(Debug, Clone, Serialize)]
pub struct VersionRow {
    /// What is checked.
    #[serde(flatten)]
    pub feature: Feature,
    /// The scenarios that check it, sorted by name.
    pub scenarios: Vec<ScenarioId>,
    /// One for each kernel.
    pub values: Vec<Value>,
}

/// What was observed on a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Value {
    /// The expected value of the kernel's series; None if it is not known.
    pub expected: Option<String>,
    /// The observed value, or what came instead of one.
    pub value: String,
    /// The observation in the words of the scenario.
    pub observed: String,
    /// Whether the two agree.
    pub judgement: Judgement,
}

/// Whether an observed value is the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// It is.
    AsExpected,
    /// It is not.
    Different,
    /// The scenario's text has none of the values of the row.
    Unclear,
    /// No value is known for the kernel's series.
    NoExpectation,
    /// There is no result.
    NotRun,
}

impl Judgement {
    /// In words.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AsExpected => "as expected",
            Self::Different => "DIFFERENT",
            Self::Unclear => "unclear",
            Self::NoExpectation => "no expectation",
            Self::NotRun => "not run",
        }
    }
}

/// A row of the table, made of the feature's row.
pub(super) fn row(
    feature: &Feature,
    scenarios: &[ScenarioId],
    outcomes: &[Vec<Outcome>],
    kernels: &[Kernel],
) -> VersionRow {
    let values = kernels.iter().zip(outcomes).map(|(kernel, outcomes)| {
        let expected = expected(feature, kernel);
        let values = outcomes.iter().map(|outcome| value(feature, expected, outcome));
        // Where several scenarios check the same, the one that differs counts, then the one with a value.
        let rank = |value: &Value| match value.judgement {
            Judgement::Different => 0,
            Judgement::AsExpected => 1,
            Judgement::NoExpectation => 2,
            Judgement::Unclear => 3,
            Judgement::NotRun => 4,
        };
        let not_run = || Value {
            expected: expected.map(str::to_owned),
            value: Judgement::NotRun.label().to_owned(),
            observed: String::new(),
            judgement: Judgement::NotRun,
        };
        values.min_by_key(rank).unwrap_or_else(not_run)
    });
    VersionRow { feature: feature.clone(), scenarios: scenarios.to_vec(), values: values.collect() }
}

/// The prefix of the names of Debian's own kernels; a kernel that is built has another configuration.
const DEBIAN: &str = "debian:";

/// The expected value of a kernel's series. Between two series with the same value, it is theirs.
fn expected<'a>(feature: &'a Feature, kernel: &Kernel) -> Option<&'a str> {
    if feature.of_debian && !kernel.target.starts_with(DEBIAN) {
        return None;
    }
    let version = kernel.version()?;
    let own = (version.major, version.minor);
    let number = |series: &str| -> Option<(u32, u32)> {
        let (major, minor) = series.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let known = feature.expected.iter().filter_map(|(series, value)| Some((number(series)?, value.as_str())));
    let mut known: Vec<_> = known.collect();
    known.sort_unstable();
    let before = known.iter().rev().find(|(series, _)| *series <= own)?;
    let after = known.iter().find(|(series, _)| *series >= own)?;
    (before.1 == after.1).then_some(before.1)
}

fn value(feature: &Feature, expected: Option<&str>, outcome: &Outcome) -> Value {
    let with = |value: &str, judgement| Value {
        expected: expected.map(str::to_owned),
        value: value.to_owned(),
        observed: outcome.observed.clone(),
        judgement,
    };
    match outcome.state {
        State::NotRun | State::NotInTheseRuns => return with(Judgement::NotRun.label(), Judgement::NotRun),
        State::NoResult => return with("no result", Judgement::NotRun),
        State::Failed => return with(outcome.verdict, Judgement::Different),
        State::Works | State::Measured | State::Skipped | State::Leaks | State::LeaksBefore(_) => {}
    }
    // The probe of a skipped scenario tells an errno, and a number in its words is of something else.
    let is_skipped = outcome.state == State::Skipped;
    let shows = |value: &str| {
        let texts = feature.seen.get(value).into_iter().flatten().map(String::as_str);
        // Where a call succeeds that a later kernel refuses, the scenario does not pass, and `seen` has the text for `ok`.
        let itself = (value != OK && !(is_skipped && is_number(value))).then_some(value);
        (value == OK && outcome.state == State::Works)
            || texts.chain(itself).any(|text| has_word(&outcome.evidence, text))
    };
    if let Some(expected) = expected.filter(|value| shows(value)) {
        return with(expected, Judgement::AsExpected);
    }
    // The values other than `ok` first, because a scenario can pass where a call is refused.
    let others = feature.expected.values().map(String::as_str);
    let found = others
        .clone()
        .filter(|value| *value != OK)
        .chain(others.filter(|value| *value == OK))
        .find(|value| shows(value));
    // A kernel without the symbol says nothing about its version, unless that is what the row is about.
    if outcome.lacks_symbol {
        return with(outcome.verdict, Judgement::NotRun);
    }
    match (found, expected) {
        (Some(value), Some(_)) => with(value, Judgement::Different),
        (Some(value), None) => with(value, Judgement::NoExpectation),
        (None, _) => with(outcome.verdict, Judgement::Unclear),
    }
}

fn is_number(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a text has these words, with no letter or digit beside them. The section of a manual page (`listns(2)`) and the
/// value of a parameter (`pid_max=500`) are no numbers that were observed.
fn has_word(text: &str, words: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(words).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + words.len()..].chars().next());
        let is_argument = is_number(words) && ((before, after) == (Some('('), Some(')')) || before == Some('='));
        !is_part(before) && !is_part(after) && !is_argument
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list;
    use crate::outcome::tests::of_state;

    fn kernel(release: &str) -> Kernel {
        Kernel { target: "debian:x".to_owned(), release: release.to_owned(), ..Kernel::default() }
    }

    fn outcome(state: State, evidence: &str) -> Outcome {
        let evidence = evidence.to_owned();
        Outcome { observed: evidence.clone(), evidence, ..of_state(state) }
    }

    /// The value and the judgement of a row on a kernel.
    fn judged(code: &str, release: &str, state: State, evidence: &str) -> (String, Judgement) {
        let groups = list::embedded().unwrap();
        let feature = list::find(&groups, code).unwrap();
        let row = row(feature, &[], &[vec![outcome(state, evidence)]], &[kernel(release)]);
        (row.values[0].value.clone(), row.values[0].judgement)
    }

    #[test]
    fn a_value_is_compared_with_that_of_the_series() {
        use Judgement::{AsExpected, Different, NoExpectation, Unclear};
        for (code, release, state, evidence, value, judgement) in [
            ("version-2", "5.10.262", State::Skipped, "mount(overlay) in a user namespace: EPERM", "EPERM", AsExpected),
            ("version-2", "6.1.192-1", State::Works, "mounted", "ok", AsExpected),
            ("version-2", "6.1.192-1", State::Skipped, "mount: EPERM", "EPERM", Different),
            ("version-2", "6.1.192-1", State::Skipped, "mount: ENODEV", "LABEL", Unclear),
            ("version-1", "5.10.1", State::Skipped, "mount_setattr: EINVAL", "EINVAL", Different),
            // Between 6.1 and 6.12 the value changes, after 6.12 it does not.
            ("version-3", "6.6.1", State::Works, "mounted", "ok", NoExpectation),
            ("version-3", "6.18", State::Works, "mounted", "ok", AsExpected),
            ("version-3", "8.0", State::Works, "mounted", "ok", NoExpectation),
            ("version-4", "6.12.1", State::Leaks, "pid_max outside: 500", "500", AsExpected),
            ("version-4", "7.3.1", State::Works, "pid_max outside: 32768", "32768", AsExpected),
            ("version-4", "7.3.1", State::Works, "pid_max outside: 5000", "LABEL", Unclear),
            ("version-10", "6.12.1", State::Works, "open for writing: EACCES", "ro", AsExpected),
            ("version-13", "6.1.1", State::Works, "Landlock's version: 2", "2", AsExpected),
            ("version-13", "6.1.1", State::Skipped, "landlock_create_ruleset(2): EOPNOTSUPP", "LABEL", Unclear),
            ("version-13", "6.12.1", State::Works, "landlock_create_ruleset(2): 6", "6", AsExpected),
            ("version-13", "6.1.1", State::Works, "landlock_create_ruleset(2): 6", "6", Different),
            ("version-20", "7.3.4", State::Skipped, "sysctl.user.max_net_namespaces=0: 0", "LABEL", Unclear),
            ("version-20", "7.3.4", State::Works, "sysctl.user.max_net_namespaces=0", "LABEL", Unclear),
            ("version-29", "6.1.1", State::Works, "userfaultfd(0): EPERM", "EPERM", AsExpected),
            ("version-29", "6.1.1", State::Works, "userfaultfd(0): 5", "ok", Different),
            ("version-29", "5.10.1", State::Leaks, "userfaultfd(0): Ok(())", "ok", AsExpected),
            ("version-20", "7.3.4", State::Works, "number of ids: 0", "0", AsExpected),
            ("version-2", "6.1.1", State::Failed, "mount: EPERM", "LABEL", Different),
        ] {
            let judged = judged(code, release, state, evidence);
            assert_eq!(judged, (value.to_owned(), judgement), "{code} on {release}: {evidence}");
        }
    }

    #[test]
    fn nothing_is_expected_of_a_kernel_without_a_version() {
        let groups = list::embedded().unwrap();
        let feature = list::find(&groups, "version-2").unwrap();
        assert_eq!(expected(feature, &kernel("")), None);
        assert_eq!(expected(feature, &kernel("5.4.1")), None);
        let row = row(feature, &[], &[Vec::new()], &[kernel("5.10.1")]);
        assert_eq!(row.values[0].judgement, Judgement::NotRun);
        assert_eq!(row.values[0].expected.as_deref(), Some("EPERM"));
    }

    #[test]
    fn a_kernel_without_a_symbol_says_nothing_about_its_version() {
        let groups = list::embedded().unwrap();
        let skipped = |code: &str, release: &str, evidence: &str| {
            let feature = list::find(&groups, code).unwrap();
            let lacking = Outcome { lacks_symbol: true, ..outcome(State::Skipped, evidence) };
            let row = row(feature, &[], &[vec![lacking]], &[kernel(release)]);
            (row.values[0].value.clone(), row.values[0].judgement)
        };
        let landlock = "landlock_create_ruleset(2): ENOSYS";
        assert_eq!(skipped("version-13", "6.12.1", landlock), ("LABEL".to_owned(), Judgement::NotRun));
        assert_eq!(skipped("version-13", "5.10.1", landlock), ("ENOSYS".to_owned(), Judgement::AsExpected));
    }

    #[test]
    fn a_row_on_debian_expects_nothing_of_a_kernel_that_was_built() {
        let groups = list::embedded().unwrap();
        let feature = list::find(&groups, "version-33").unwrap();
        let built = Kernel { target: "source:trixie+cgroups".to_owned(), ..kernel("6.12.1") };
        assert_eq!(expected(feature, &kernel("6.12.1")), Some("EINVAL"));
        assert_eq!(expected(feature, &built), None);
        let observed = outcome(State::Skipped, "mount(cgroup, memory): EBUSY");
        let row = row(feature, &[], &[vec![observed]], &[built]);
        assert_eq!((row.values[0].value.as_str(), row.values[0].judgement), ("EBUSY", Judgement::NoExpectation));
    }
}
