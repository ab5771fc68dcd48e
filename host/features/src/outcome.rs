//! What a scenario came to on a kernel, made of the report on its job. Pure.

use serde::Serialize;
use vmlab_events::event::JobReport;
use vmlab_events::verdict::{Class, SkipReason, Verdict};
use vmlab_events::{clean, text};
use vmlab_protocol::catalogue::{KernelVersion, ScenarioSpec};
use vmlab_protocol::message::{Leg, LegOutcome};

/// The most characters of a guest's text that are shown.
pub(crate) const MAX_TEXT: usize = 300;
/// The greatest ratios that are shown of a measuring scenario.
const MAX_RATIOS: usize = 3;

/// What a scenario came to on a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "until")]
pub enum State {
    /// The check failed, or the kernel broke.
    Failed,
    /// The guest did not boot or was lost.
    NoResult,
    /// Linux does not isolate this.
    Leaks,
    /// Linux isolates this since that version.
    LeaksBefore(KernelVersion),
    /// It passed.
    Works,
    /// It measured costs, in conditions that were steady.
    Measured,
    /// The kernel does not have what the scenario needs.
    Skipped,
    /// It was a job of a run, and the run ended before it had a result.
    NotRun,
    /// It was no job of the runs.
    NotInTheseRuns,
}

/// How many times its baseline an operation costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ratio {
    /// The operation.
    pub operation: String,
    /// The operation with which it is compared.
    pub baseline: String,
    /// The operation's cost divided by the baseline's, in thousandths.
    pub ratio_permille: u64,
}

/// The result of a scenario on a kernel, with clean texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The result on this kernel.
    #[serde(flatten)]
    pub state: State,
    /// The verdict's label; the state if there is no verdict.
    pub verdict: &'static str,
    /// What was observed, or why there is no observation.
    pub observed: String,
    /// Why it was skipped, in a few words; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lacks: String,
    /// The first version with what it needs, if it was skipped because the kernel is older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<KernelVersion>,
    /// Whether it was skipped because the kernel's configuration lacks a symbol.
    #[serde(skip)]
    pub lacks_symbol: bool,
    /// What a measuring scenario has measured, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ratios: Vec<Ratio>,
    /// All that the legs told, to look for expected values.
    #[serde(skip)]
    pub evidence: String,
}

impl Outcome {
    /// That of a scenario that no run had among its jobs.
    pub(crate) const NOT_IN_THESE_RUNS: Self = Self {
        state: State::NotInTheseRuns,
        verdict: "not-in-these-runs",
        observed: String::new(),
        lacks: String::new(),
        needs: None,
        lacks_symbol: false,
        ratios: Vec::new(),
        evidence: String::new(),
    };

    /// Whether the scenario has a result on the kernel, be it a skip.
    #[must_use]
    pub const fn is_result(&self) -> bool {
        !matches!(self.state, State::NotRun | State::NotInTheseRuns)
    }

    /// What is to be said besides the verdict, if it is not simply good.
    pub(crate) fn note(&self) -> Option<String> {
        let Self { state, verdict, observed, lacks, .. } = self;
        match state {
            State::Works | State::NotRun | State::NotInTheseRuns => None,
            State::Measured => Some(self.greatest_ratios()),
            State::Skipped => Some(format!("skipped: {lacks}")),
            State::Leaks => Some(format!("leaks: {observed}")),
            State::LeaksBefore(until) => Some(format!("leaks before {until}: {observed}")),
            State::Failed => Some(format!("failed ({verdict}): {observed}")),
            State::NoResult => Some(format!("has no result ({verdict}): {observed}")),
        }
    }

    /// `x1.19 clock_gettime (against the same outside), x1.00 getpid (...)`
    fn greatest_ratios(&self) -> String {
        let mut ratios: Vec<_> = self.ratios.iter().collect();
        ratios.sort_by_key(|ratio| std::cmp::Reverse(ratio.ratio_permille));
        let one = |Ratio { operation, baseline, ratio_permille }: &Ratio| {
            format!("x{} {operation} (against: {baseline})", text::ratio(*ratio_permille))
        };
        let shown: Vec<_> = ratios.iter().take(MAX_RATIOS).map(|ratio| one(ratio)).collect();
        let rest = ratios.len().saturating_sub(MAX_RATIOS);
        let rest = if rest == 0 { String::new() } else { format!(" and {rest} with smaller ratios") };
        format!("measured: {}{rest}", shown.join(", "))
    }
}

/// What the report on a scenario's job says.
pub(crate) fn of_report(report: &JobReport, spec: &ScenarioSpec) -> Outcome {
    let verdict = &report.verdict;
    let (figures, _) = text::measured(report);
    let state = match verdict {
        Verdict::Leaks { .. } => leak(spec),
        Verdict::Passed if !figures.is_empty() => State::Measured,
        _ => match verdict.class() {
            Class::Good => State::Works,
            Class::Skipped => State::Skipped,
            Class::Lab => State::NoResult,
            Class::NotRun => State::NotRun,
            _ => State::Failed,
        },
    };
    let (lacks, needs) = match verdict {
        Verdict::Skipped { reason } => (lacks(reason), needs(reason)),
        _ => (String::new(), None),
    };
    let lacks_symbol = matches!(verdict, Verdict::Skipped { reason: SkipReason::ConfigNotSet { .. } });
    let of_leg =
        |wanted: Leg| report.legs.iter().find(|leg| leg.leg == wanted).and_then(|leg| reported_by(&leg.outcome));
    let detail = verdict.detail();
    let observed = if detail.is_empty() { of_leg(Leg::Subject).unwrap_or_default().to_owned() } else { detail.clone() };
    let legs = [Leg::Probe, Leg::Subject].into_iter().filter_map(of_leg);
    let evidence = match verdict {
        Verdict::Skipped { reason } => evidence_of_skip(reason).to_owned(),
        _ => [detail.as_str(), &report.stdout].into_iter().chain(legs).collect::<Vec<_>>().join("\n"),
    };
    let show = |text: &str| clean::cut(&clean::line(text), MAX_TEXT);
    let ratio = |figure: &vmlab_protocol::figure::Figure| Ratio {
        operation: show(&figure.operation),
        baseline: show(&figure.baseline),
        ratio_permille: figure.ratio_permille,
    };
    let ratios = figures.iter().filter(|figure| figure.is_valid()).map(ratio).collect();
    Outcome {
        state,
        verdict: verdict.label(),
        observed: show(&observed),
        lacks: show(&lacks),
        needs,
        lacks_symbol,
        ratios,
        evidence,
    }
}

/// The host calls a leak a failure on a kernel that is new enough to isolate.
fn leak(spec: &ScenarioSpec) -> State {
    spec.isolates_since.as_ref().map_or(State::Leaks, |since| State::LeaksBefore(since.mainline))
}

/// What a kernel lacks, in a few words.
fn lacks(reason: &SkipReason) -> String {
    match reason {
        SkipReason::KernelTooOld { since, .. } => format!("needs Linux {since}"),
        SkipReason::ConfigNotSet { symbols, .. } => format!("needs {}", symbols.join(", ")),
        SkipReason::Disabled { parameter, .. } => format!("disabled by `{parameter}`"),
        other => other.to_string(),
    }
}

/// The version that the kernel is too old for.
const fn needs(reason: &SkipReason) -> Option<KernelVersion> {
    match reason {
        SkipReason::KernelTooOld { since, .. } => Some(*since),
        SkipReason::ConfigUnknown { newer, .. } => *newer,
        _ => None,
    }
}

/// What the probe of a skipped scenario saw of the call that the scenario is about. A parameter of the user's, and a sandbox
/// that cannot be made, say nothing about that call.
fn evidence_of_skip(reason: &SkipReason) -> &str {
    match reason {
        SkipReason::KernelTooOld { evidence, .. }
        | SkipReason::ConfigNotSet { evidence, .. }
        | SkipReason::ConfigUnknown { evidence, .. }
            if !evidence.starts_with("unshare(") =>
        {
            evidence
        }
        _ => "",
    }
}

/// What a leg reported.
fn reported_by(outcome: &LegOutcome) -> Option<&str> {
    match outcome {
        LegOutcome::Isolated { detail } | LegOutcome::Leaked { detail } | LegOutcome::Failed { detail } => Some(detail),
        LegOutcome::Missing { evidence } => Some(evidence),
        LegOutcome::Available
        | LegOutcome::Reported
        | LegOutcome::Ended(_)
        | LegOutcome::Measured { .. }
        | LegOutcome::Died { .. }
        | LegOutcome::TimedOut { .. } => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use vmlab_events::fixture;

    /// An outcome of which only the state matters.
    pub(crate) fn of_state(state: State) -> Outcome {
        Outcome { state, verdict: "LABEL", ..Outcome::NOT_IN_THESE_RUNS }
    }

    #[test]
    fn only_the_probe_of_the_own_call_is_evidence_of_a_skipped_scenario() {
        let evidence = |text: &str| text.to_owned();
        let symbols = vec!["CONFIG_X".to_owned()];
        for (reason, expected) in [
            (
                SkipReason::ConfigNotSet { symbols: symbols.clone(), evidence: evidence("mount: EINVAL") },
                "mount: EINVAL",
            ),
            (SkipReason::ConfigNotSet { symbols, evidence: evidence("unshare(CLONE_NEWTIME): EINVAL") }, ""),
            (
                SkipReason::Disabled {
                    parameter: "lsm=".to_owned(),
                    symbol: "CONFIG_X".to_owned(),
                    evidence: evidence("landlock_create_ruleset(2): EOPNOTSUPP"),
                },
                "",
            ),
        ] {
            assert_eq!(evidence_of_skip(&reason), expected, "{reason:?}");
        }
    }

    #[test]
    fn a_leak_that_a_later_kernel_ended_says_since_when() {
        let mut spec = fixture::scenarios().remove(0);
        let since = vmlab_protocol::catalogue::Since { mainline: KernelVersion::new(6, 14, 0), backports: Vec::new() };
        spec.isolates_since = Some(since);
        assert_eq!(leak(&spec), State::LeaksBefore(KernelVersion::new(6, 14, 0)));
        spec.isolates_since = None;
        assert_eq!(leak(&spec), State::Leaks);
    }

    #[test]
    fn the_greatest_ratios_are_shown_first_and_the_others_are_counted() {
        let ratio = |(operation, ratio_permille): (&str, u64)| Ratio {
            operation: operation.to_owned(),
            baseline: "the same outside".to_owned(),
            ratio_permille,
        };
        let measured = [("getpid", 1003), ("clock_gettime", 1191), ("stat", 1002), ("uname", 1001)];
        let outcome = Outcome { ratios: measured.map(ratio).to_vec(), ..of_state(State::Measured) };
        let note = outcome.note().unwrap();
        assert!(note.starts_with("measured: x1.19 clock_gettime (against: the same outside), x1.00 getpid"), "{note}");
        assert!(note.ends_with(" and 1 with smaller ratios"), "{note}");
    }
}
