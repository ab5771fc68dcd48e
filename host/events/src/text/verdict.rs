//! The sentence that goes with a verdict's label.

use std::fmt;

use super::leg::command_end;
use super::lost::seconds;
use super::{Join, count, percent};
use crate::verdict::{Failure, Flakiness, NotRunReason, Seen, SkipReason, Verdict};
use vmlab_protocol::figure::{CONTROL_LIMIT_PERMILLE, INTERVAL_LIMIT_PERMILLE, MIN_BLOCKS};

/// The most names of failed tests in a sentence.
const MAX_NAMES: usize = 5;

impl Verdict {
    /// The sentence that goes with the label, on one line unless a guest's text in it is not; empty for
    /// [`Verdict::Passed`]. A guest's text is in it as the guest sent it, so clean it ([`crate::clean`]) before it reaches a
    /// terminal.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Passed => String::new(),
            Self::Failed { reason } => reason.to_string(),
            Self::Vacuous { seen } => seen.after("the control did not leak: "),
            Self::Leaks { seen } => seen.after(""),
            Self::Changed { seen } => seen.after("a documented leak has stopped: "),
            Self::Flaky { reason } => reason.to_string(),
            Self::Skipped { reason } => reason.to_string(),
            Self::TimedOut { reason } => reason.to_string(),
            Self::KernelCrashed { what, pvpanic: None, suite, .. } => {
                let during = suite.as_ref().map(|suite| format!("; the KUnit suite `{suite}` ran")).unwrap_or_default();
                format!("{what}{during}")
            }
            Self::KernelCrashed { what, trace, pvpanic: Some(phase), .. } => {
                let console = match trace.first() {
                    Some(line) => format!("the console does not show it, and ends with: {line}"),
                    None => "the console is empty".to_owned(),
                };
                format!("{what} {}; {console}", phase.when())
            }
            Self::GuestVanished { reason } => reason.to_string(),
            Self::LaunchFailed { reason } => reason.to_string(),
            Self::ProtocolViolation { reason, evidence } => {
                let mut parts = Join::new(reason.to_string());
                evidence.iter().for_each(|evidence| parts.extend(evidence.supplement()));
                parts.finish()
            }
            Self::NotRun { reason } => reason.to_string(),
        }
    }
}

impl Seen {
    fn after(&self, prefix: &str) -> String {
        match self {
            Self::Finding(finding) => format!("{prefix}{finding}"),
            Self::Recorded(text) => text.clone(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIsolated { finding } => write!(f, "not isolated: {finding}"),
            Self::LegFailed { leg, detail } => write!(f, "leg {}: {detail}", leg.name()),
            Self::LegDied { leg, how } => write!(f, "leg {}: its process {how}", leg.name()),
            Self::KernelWarned { title, .. } => write!(f, "the kernel warned meanwhile: {title}"),
            Self::FeatureMissing { symbols, evidence } => {
                let promise = if symbols.is_empty() { "version".to_owned() } else { symbols.join(", ") };
                write!(f, "this kernel's {promise} says that the feature is there, and it is not: {evidence}")
            }
            Self::TestsFailed { failed, of } => {
                write!(f, "{} of {} failed: ", failed.len(), count(*of, "test"))?;
                let shown: Vec<_> = failed.iter().take(MAX_NAMES).map(String::as_str).collect();
                f.write_str(&shown.join(", "))?;
                if failed.len() > MAX_NAMES { write!(f, " and {} more", failed.len() - MAX_NAMES) } else { Ok(()) }
            }
            Self::BadResults { problem } => write!(f, "the results do not say how each test ended: {problem}"),
            Self::Invalid { operation, control_permille, interval_permille, blocks } => {
                write!(f, "INVALID: {operation}: ")?;
                match interval_permille.filter(|_| *control_permille <= CONTROL_LIMIT_PERMILLE) {
                    _ if *blocks < MIN_BLOCKS => write!(f, "{blocks} blocks are too few"),
                    None => {
                        let (difference, limit) = (percent(*control_permille), percent(CONTROL_LIMIT_PERMILLE));
                        write!(
                            f,
                            "the baseline differs from itself by {difference} in {blocks} blocks (limit: {limit})"
                        )
                    }
                    Some(interval) => {
                        let (width, limit) = (percent(interval), percent(INTERVAL_LIMIT_PERMILLE));
                        write!(f, "the cost is known to {width} of it only, from {blocks} blocks (limit: {limit})")
                    }
                }
            }
            Self::Command(end) => f.write_str(&command_end(end)),
            Self::Recorded { text } => f.write_str(text),
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigNotSet { symbols, evidence } => {
                write!(f, "needs {} (not set in this kernel): {evidence}", symbols.join(", "))
            }
            Self::KernelTooOld { since, version, evidence } => {
                write!(f, "needs Linux {since} (this is {version}): {evidence}")
            }
            Self::Disabled { parameter, symbol, evidence } => {
                write!(
                    f,
                    "the command line has `{parameter}` (--append), which disables what {symbol} provides: {evidence}"
                )
            }
            Self::ConfigUnknown { newer: Some(since), evidence } => {
                write!(f, "{evidence}; it came with Linux {since} (this kernel's config is not known)")
            }
            Self::ConfigUnknown { newer: None, evidence } => {
                write!(f, "{evidence} (this kernel's config is not known)")
            }
            Self::NoSuite { evidence } => write!(f, "this kernel does not have the suite: {evidence}"),
            Self::Inconclusive { why } => write!(f, "INCONCLUSIVE: {why}"),
            Self::NoTests => f.write_str("the suite has no tests in this kernel"),
            Self::TestsSkipped { why } if why.is_empty() => f.write_str("each test skipped itself"),
            Self::TestsSkipped { why } => write!(f, "each test skipped itself: {why}"),
            Self::Recorded { text } => f.write_str(text),
        }
    }
}

impl fmt::Display for Flakiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SomeFailed { runs, failures, good_before, first, .. } => {
                let after = match good_before {
                    0 => String::new(),
                    good => format!(" after {good} good one{}", if *good == 1 { "" } else { "s" }),
                };
                let (label, why) = (first.label(), first.detail());
                write!(f, "{failures} of {runs} attempts failed, first with {label}{after}: {why}")
            }
            Self::SomeSkipped { runs, why } => write!(f, "skipped in some of {runs} attempts and not in others: {why}"),
            Self::Recorded { text } => f.write_str(text),
        }
    }
}

impl fmt::Display for NotRunReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("the run was interrupted"),
            Self::RunLimit { limit_ms } => {
                write!(f, "the run's timeout of {} (--timeout) passed before its turn came", seconds(*limit_ms))
            }
            Self::FailureFound { job, target } => write!(f, "{job} on {target} failed, which ended the run"),
            Self::CutShort { by } => f.write_str(&by.detail()),
            Self::TooFewRuns { runs, planned, because } => {
                let why = because.detail();
                write!(f, "only {runs} of {planned} attempts were made, none of which failed: {why}")
            }
            Self::NoVerdict => {
                f.write_str("the events end before its verdict: vmlab was killed, or the record was cut")
            }
            Self::LabFault => f.write_str("a fault in vmlab itself lost its verdict"),
            Self::Recorded { text } => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::AttemptKind;
    use vmlab_protocol::catalogue::KernelVersion;

    #[test]
    fn a_reason_for_a_skip_says_what_can_be_checked() {
        let evidence = || "unshare: EINVAL".to_owned();
        let since = KernelVersion::new(5, 6, 0);
        for (reason, text) in [
            (
                SkipReason::ConfigNotSet {
                    symbols: vec!["CONFIG_A".to_owned(), "CONFIG_B".to_owned()],
                    evidence: evidence(),
                },
                "needs CONFIG_A, CONFIG_B (not set in this kernel): unshare: EINVAL",
            ),
            (
                SkipReason::KernelTooOld { since, version: KernelVersion::new(5, 4, 1), evidence: evidence() },
                "needs Linux 5.6 (this is 5.4.1): unshare: EINVAL",
            ),
            (
                SkipReason::Disabled {
                    parameter: "cgroup_disable=memory".to_owned(),
                    symbol: "CONFIG_MEMCG".to_owned(),
                    evidence: evidence(),
                },
                "the command line has `cgroup_disable=memory` (--append), which disables what CONFIG_MEMCG provides: \
                 unshare: EINVAL",
            ),
            (
                SkipReason::ConfigUnknown { newer: Some(since), evidence: evidence() },
                "unshare: EINVAL; it came with Linux 5.6 (this kernel's config is not known)",
            ),
            (
                SkipReason::ConfigUnknown { newer: None, evidence: evidence() },
                "unshare: EINVAL (this kernel's config is not known)",
            ),
        ] {
            assert_eq!(reason.to_string(), text);
        }
    }

    #[test]
    fn flaky_names_the_first_failure_and_what_came_before() {
        let first = || Box::new(Verdict::Failed { reason: Failure::NotIsolated { finding: "seen".to_owned() } });
        let of = |unit, good_before| Flakiness::SomeFailed { unit, runs: 20, failures: 3, good_before, first: first() };
        let text = "3 of 20 attempts failed, first with FAIL: not isolated: seen";
        assert_eq!(of(AttemptKind::Attempt, 0).to_string(), text);
        let text = "3 of 20 attempts failed, first with FAIL after 1 good one: not isolated: seen";
        assert_eq!(of(AttemptKind::Run, 1).to_string(), text);
        assert!(of(AttemptKind::Run, 2).to_string().contains("after 2 good ones"));
    }

    #[test]
    fn too_few_runs_tell_why() {
        let because = || Box::new(Verdict::missing(true));
        let reason = NotRunReason::TooFewRuns { runs: 1, planned: 3, because: because() };
        let text = "only 1 of 3 attempts were made, none of which failed: the run was interrupted";
        assert_eq!(reason.to_string(), text);
    }
}
