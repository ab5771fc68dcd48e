//! What a scenario's legs, the console meanwhile and the kernel's facts come to: one [`Verdict`]. Pure.

use vmlab_protocol::catalogue::{Control, Expectation, KernelVersion, ScenarioSpec};
use vmlab_protocol::message::{Leg, LegOutcome};

use vmlab_console::{Crash, Finding, Severity};
use vmlab_events::event::LegReport;
use vmlab_events::loss::Watchdog;
use vmlab_events::verdict::Verdict;
use vmlab_kernel::config::KernelConfig;

/// What is known of the kernel that a scenario ran on.
#[derive(Debug, Clone, Copy)]
pub struct KernelFacts<'a> {
    /// Its version.
    pub version: KernelVersion,
    /// Its configuration, where it is known.
    pub config: Option<&'a KernelConfig>,
}

/// What came of a scenario that the guest ran to its end.
///
/// `legs` are in the order that the session enforces.
#[must_use]
pub fn finished(
    spec: &ScenarioSpec,
    kernel: KernelFacts<'_>,
    legs: &[LegReport],
    crash: Option<&Crash>,
    warnings: &[Finding],
) -> Verdict {
    if let Some(crash) = crash {
        return Verdict::crashed(crash);
    }
    let verdict = from_legs(spec, kernel, legs);
    match (&verdict, warnings.iter().find(|warning| warning.severity > Severity::Note)) {
        (Verdict::Passed | Verdict::Leaks { .. } | Verdict::Skipped { .. }, Some(first)) => {
            Verdict::Failed { detail: format!("the kernel warned meanwhile: {}", first.title) }
        }
        _ => verdict,
    }
}

/// Makes a note of what a scenario allows. What broke the kernel cannot be allowed.
pub fn allow(spec: &ScenarioSpec, warnings: &mut [Finding]) {
    for warning in warnings.iter_mut().filter(|warning| warning.severity == Severity::Warned) {
        let headline = warning.headline();
        if spec.allows.iter().any(|allowed| headline.contains(&allowed.pattern)) {
            warning.severity = Severity::Note;
        }
    }
}

fn from_legs(spec: &ScenarioSpec, kernel: KernelFacts<'_>, legs: &[LegReport]) -> Verdict {
    // A leg that broke off decides, whatever the others found.
    for LegReport { leg, outcome, .. } in legs {
        let leg = leg.name();
        match outcome {
            LegOutcome::TimedOut { limit_ms } => {
                return Verdict::TimedOut {
                    detail: format!("leg {leg} exceeded its limit of {limit_ms} ms"),
                    which: Some(Watchdog::Leg),
                };
            }
            LegOutcome::Died { how } => return Verdict::Failed { detail: format!("leg {leg}: its process {how}") },
            LegOutcome::Failed { detail } => return Verdict::Failed { detail: format!("leg {leg}: {detail}") },
            LegOutcome::Missing { evidence } => return missing(spec, kernel, evidence),
            LegOutcome::Available | LegOutcome::Isolated { .. } | LegOutcome::Leaked { .. } => {}
        }
    }
    let found = |which: Leg| legs.iter().find(|report| report.leg == which).map(|report| &report.outcome);
    match (spec.expects, found(Leg::Subject), found(Leg::Control), &spec.control) {
        (Expectation::Isolation, Some(LegOutcome::Leaked { detail }), _, _) => {
            Verdict::Failed { detail: format!("not isolated: {detail}") }
        }
        (Expectation::Leak, Some(LegOutcome::Isolated { detail }), _, _) => {
            Verdict::Changed { detail: format!("a documented leak has stopped: {detail}") }
        }
        (_, Some(_), Some(LegOutcome::Isolated { detail }), Control::Runs) => {
            Verdict::Vacuous { detail: format!("the control did not leak: {detail}") }
        }
        (Expectation::Isolation, Some(_), Some(LegOutcome::Leaked { .. }), Control::Runs)
        | (Expectation::Isolation, Some(_), None, Control::Impossible { .. }) => Verdict::Passed,
        (Expectation::Leak, Some(LegOutcome::Leaked { detail }), Some(LegOutcome::Leaked { .. }), Control::Runs)
        | (Expectation::Leak, Some(LegOutcome::Leaked { detail }), None, Control::Impossible { .. }) => {
            Verdict::Leaks { detail: detail.clone() }
        }
        // The session lets nothing else through; if it ever does, that is no pass.
        (_, subject, control, _) => Verdict::ProtocolViolation {
            detail: format!("no verdict follows from subject {subject:?} and control {control:?}"),
        },
    }
}

/// A probe found nothing. Where the kernel's version and configuration explain it, that is a skip with a reason that
/// can be checked; where they say that the feature must be there, it is a failure.
fn missing(spec: &ScenarioSpec, kernel: KernelFacts<'_>, evidence: &str) -> Verdict {
    let needs = &spec.requires;
    let Some(config) = kernel.config else {
        let age =
            if kernel.version < needs.since { format!("; it came with Linux {}", needs.since) } else { String::new() };
        let reason = format!("{evidence}{age} (this kernel's config is not known)");
        return Verdict::Skipped { reason };
    };
    let unset: Vec<_> = needs.config.iter().filter(|symbol| !config.enabled(symbol)).map(String::as_str).collect();
    if !unset.is_empty() && kernel.version >= needs.since {
        return Verdict::Skipped { reason: format!("needs {} (not set in this kernel): {evidence}", unset.join(", ")) };
    }
    if kernel.version < needs.since {
        let (since, version) = (needs.since, kernel.version);
        return Verdict::Skipped { reason: format!("needs Linux {since} (this is {version}): {evidence}") };
    }
    let all = if needs.config.is_empty() { "version".to_owned() } else { needs.config.join(", ") };
    Verdict::Failed { detail: format!("this kernel's {all} says that the feature is there, and it is not: {evidence}") }
}

#[cfg(test)]
mod tests;
