//! The verdict on a job that the guest ran to its end: from its legs, from what the console says meanwhile, and from what
//! is known of the kernel. Pure.

use vmlab_protocol::catalogue::{Control, Expectation, KernelVersion, ScenarioSpec};
use vmlab_protocol::command::CommandEnd;
use vmlab_protocol::message::{Leg, LegOutcome};

use vmlab_console::{Crash, Finding, Severity};
use vmlab_events::event::LegReport;
use vmlab_events::job::{JobSpec, SuiteId};
use vmlab_events::verdict::{Failure, Seen, SkipReason, Timeout, Verdict, Violation};
use vmlab_kernel::config::KernelConfig;
use vmlab_qemu::parameters;

use super::measured::measured;
use super::suite::SuiteResults;

/// What is known of the kernel that a job ran on.
#[derive(Debug, Clone, Copy)]
pub struct KernelFacts<'a> {
    /// Its version.
    pub version: KernelVersion,
    /// Its configuration, where it is known.
    pub config: Option<&'a KernelConfig>,
    /// The user's parameters on its command line.
    pub append: Option<&'a str>,
    /// Its KUnit suites, where they are known.
    pub suites: Option<&'a [SuiteId]>,
}

/// The verdict that a crash on the console is, and the KUnit suite that ran then.
pub(super) fn crashed(crash: &Crash, suite: Option<&str>) -> Verdict {
    Verdict::KernelCrashed {
        what: crash.title.clone(),
        trace: crash.trace.clone(),
        kind: Some(crash.kind),
        fingerprint: fingerprint(crash),
        task: crash.task.clone().map(Box::new),
        pvpanic: None,
        suite: suite.map(str::to_owned),
    }
}

fn fingerprint(finding: &Finding) -> Option<String> {
    Some(finding.fingerprint.clone()).filter(|name| !name.is_empty())
}

/// The verdict on a job that the guest ran to its end.
///
/// `legs` are in the order that the session enforces. `results` are those of a KUnit suite.
#[must_use]
pub fn finished(
    spec: &JobSpec,
    kernel: KernelFacts<'_>,
    legs: &[LegReport],
    results: &SuiteResults,
    crash: Option<&Crash>,
    warnings: &[Finding],
) -> Verdict {
    if let Some(crash) = crash {
        return crashed(crash, None);
    }
    let broken_off = legs.iter().find_map(|report| broken_off(spec, kernel, report));
    let verdict = broken_off.unwrap_or_else(|| match spec {
        JobSpec::Scenario(spec) if spec.machine.measuring => measured(legs),
        JobSpec::Scenario(spec) => compared(spec, spec.expects_of(kernel.version), legs),
        JobSpec::Kunit(_) => results.verdict(),
        JobSpec::Command(_) => ended(legs),
    });
    match (&verdict, warnings.iter().find(|warning| warning.severity > Severity::Note)) {
        (Verdict::Passed | Verdict::Leaks { .. } | Verdict::Skipped { .. }, Some(first)) => {
            let (title, warning) = (first.title.clone(), first.kind);
            Verdict::Failed { reason: Failure::KernelWarned { title, warning, fingerprint: fingerprint(first) } }
        }
        _ => verdict,
    }
}

/// Turns warnings that a job allows into notes. A report that broke the kernel cannot be allowed.
pub fn allow(spec: &JobSpec, warnings: &mut [Finding]) {
    for warning in warnings.iter_mut().filter(|warning| warning.severity == Severity::Warned) {
        let headline = warning.headline();
        if spec.allows().iter().any(|allowed| headline.contains(&allowed.pattern)) {
            warning.severity = Severity::Note;
        }
    }
}

/// The verdict of a leg without a finding: it decides, whatever the other legs found.
fn broken_off(spec: &JobSpec, kernel: KernelFacts<'_>, report: &LegReport) -> Option<Verdict> {
    let LegReport { leg, outcome, .. } = report;
    let (leg, failed) = (*leg, |reason| Some(Verdict::Failed { reason }));
    match outcome {
        LegOutcome::TimedOut { limit_ms } => {
            Some(Verdict::TimedOut { reason: Timeout::Leg { leg, limit_ms: *limit_ms } })
        }
        LegOutcome::Died { how } => failed(Failure::LegDied { leg, how: how.clone() }),
        LegOutcome::Failed { detail } => {
            let of_feature = (leg == Leg::Probe).then(|| disabled(spec, kernel, detail)).flatten();
            let skipped = limited(kernel, detail).or(of_feature);
            skipped.or_else(|| failed(Failure::LegFailed { leg, detail: detail.clone() }))
        }
        LegOutcome::Missing { evidence } => Some(missing(spec, kernel, evidence.clone())),
        LegOutcome::Available | LegOutcome::Isolated { .. } | LegOutcome::Leaked { .. } => None,
        LegOutcome::Reported | LegOutcome::Ended(_) | LegOutcome::Measured { .. } => None,
    }
}

/// The verdict of subject and control, which both have a finding.
fn compared(spec: &ScenarioSpec, expects: Expectation, legs: &[LegReport]) -> Verdict {
    let found = |which: Leg| legs.iter().find(|report| report.leg == which).map(|report| &report.outcome);
    let seen = |detail: &String| Seen::Finding(detail.clone());
    match (expects, found(Leg::Subject), found(Leg::Control), &spec.control) {
        (Expectation::Isolation, Some(LegOutcome::Leaked { detail }), _, _) => {
            Verdict::Failed { reason: Failure::NotIsolated { finding: detail.clone() } }
        }
        (Expectation::Leak, Some(LegOutcome::Isolated { detail }), _, _) => Verdict::Changed { seen: seen(detail) },
        (_, Some(_), Some(LegOutcome::Isolated { detail }), Control::Runs) => Verdict::Vacuous { seen: seen(detail) },
        (Expectation::Isolation, Some(_), Some(LegOutcome::Leaked { .. }), Control::Runs)
        | (Expectation::Isolation, Some(_), None, Control::Impossible { .. }) => Verdict::Passed,
        (Expectation::Leak, Some(LegOutcome::Leaked { detail }), Some(LegOutcome::Leaked { .. }), Control::Runs)
        | (Expectation::Leak, Some(LegOutcome::Leaked { detail }), None, Control::Impossible { .. }) => {
            Verdict::Leaks { seen: seen(detail) }
        }
        // The session lets nothing else through; if it ever does, that is no pass.
        (_, subject, control, _) => Verdict::ProtocolViolation {
            reason: Violation::Undecided { subject: subject.cloned(), control: control.cloned() },
            evidence: None,
        },
    }
}

/// The verdict on a command from its end.
fn ended(legs: &[LegReport]) -> Verdict {
    match legs.last().map(|report| &report.outcome) {
        Some(LegOutcome::Ended(CommandEnd::Exited { code: 0 })) => Verdict::Passed,
        Some(LegOutcome::Ended(end)) => Verdict::Failed { reason: Failure::Command(end.clone()) },
        // The session lets nothing else through; if it ever does, that is no pass.
        outcome => Verdict::ProtocolViolation {
            reason: Violation::Undecided { subject: outcome.cloned(), control: None },
            evidence: None,
        },
    }
}

/// The verdict on a failed probe whose feature the user's parameters switch off: that says nothing about the kernel.
fn disabled(spec: &JobSpec, kernel: KernelFacts<'_>, evidence: &str) -> Option<Verdict> {
    let symbols = spec.requirement().config;
    parameters::disabling(kernel.append?, &symbols).map(|(parameter, symbol)| by_parameter(parameter, symbol, evidence))
}

fn by_parameter(parameter: &str, symbol: &str, evidence: &str) -> Verdict {
    let (parameter, symbol, evidence) = (parameter.to_owned(), symbol.to_owned(), evidence.to_owned());
    Verdict::Skipped { reason: SkipReason::Disabled { parameter, symbol, evidence } }
}

/// The verdict on a leg that failed because the user's parameters let a kernel have no more namespaces of a kind.
fn limited(kernel: KernelFacts<'_>, evidence: &str) -> Option<Verdict> {
    let reached = parameters::limiting_namespaces(kernel.append?, evidence);
    reached.map(|(parameter, flag)| by_parameter(parameter, flag, evidence))
}

/// The security modules that scenarios need. The kernel starts only those that CONFIG_LSM lists, or `lsm=` instead of it
/// (security/security.c of Linux 6.12, `ordered_lsm_init`).
const SECURITY_MODULES: [(&str, &str); 2] =
    [("CONFIG_SECURITY_LANDLOCK", "landlock"), ("CONFIG_SECURITY_YAMA", "yama")];

/// The security module that a symbol builds, if the kernel's configuration does not start it.
fn unlisted(symbol: &str, config: &KernelConfig, append: Option<&str>) -> Option<&'static str> {
    if append.is_some_and(|append| parameters::names(append, "lsm")) {
        return None;
    }
    let (_, module) = SECURITY_MODULES.into_iter().find(|(known, _)| *known == symbol)?;
    // Before 5.1 there is no list.
    let list = config.get("CONFIG_LSM")?.trim_matches('"');
    (!list.split(',').any(|name| name == module)).then_some(module)
}

/// A probe found nothing. Where the kernel's version or configuration explains it, that is a skip with a reason that can be
/// checked; where they say that the feature must be there, it is a failure, unless the user's parameters switch it off.
fn missing(spec: &JobSpec, kernel: KernelFacts<'_>, evidence: String) -> Verdict {
    let needs = spec.requirement();
    let too_old = needs.is_newer_than(kernel.version);
    let Some(config) = kernel.config else {
        let newer = too_old.then_some(needs.since);
        return Verdict::Skipped { reason: SkipReason::ConfigUnknown { newer, evidence } };
    };
    if too_old {
        let (since, version) = (needs.since, kernel.version);
        return Verdict::Skipped { reason: SkipReason::KernelTooOld { since, version, evidence } };
    }
    let unset = |symbol: &String| match config.enabled(symbol) {
        true => unlisted(symbol, config, kernel.append).map(|module| format!("CONFIG_LSM with {module}")),
        false => Some(symbol.clone()),
    };
    let unset: Vec<_> = needs.config.iter().filter_map(unset).collect();
    if !unset.is_empty() {
        return Verdict::Skipped { reason: SkipReason::ConfigNotSet { symbols: unset, evidence } };
    }
    if let (JobSpec::Kunit(suite), Some(known)) = (spec, kernel.suites)
        && !known.contains(suite)
    {
        return Verdict::Skipped { reason: SkipReason::NoSuite { evidence } };
    }
    let off = disabled(spec, kernel, &evidence);
    off.unwrap_or(Verdict::Failed { reason: Failure::FeatureMissing { symbols: needs.config, evidence } })
}

#[cfg(test)]
mod tests;
