//! All evidence on one scenario, fused into one [`Verdict`]. Pure.

use std::fmt;

use vmlab_protocol::catalogue::{Control, Expectation, KernelVersion, ScenarioSpec};
use vmlab_protocol::message::{Leg, LegOutcome};

use super::Verdict;
use super::console::{ConsoleReader, Crash, Finding, Severity};
use crate::event::LegReport;
use crate::kernel::config::KernelConfig;

/// What is known of the kernel that a scenario ran on.
#[derive(Debug, Clone, Copy)]
pub struct KernelFacts<'a> {
    /// Its version.
    pub version: KernelVersion,
    /// Its configuration, where it is known.
    pub config: Option<&'a KernelConfig>,
}

/// How a guest ended while it still had something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestLoss {
    /// The watchdog named killed it.
    Watchdog {
        /// Which, as `boot`, `scenario`.
        which: &'static str,
        /// Its limit, in ms.
        limit_ms: u64,
        /// What QEMU said of the guest then.
        state: String,
    },
    /// It said what it may not say.
    Violation(String),
    /// It went away: QEMU's exit, its last words, what QMP said of the reason.
    Vanished(String),
    /// It is another machine than was asked for.
    WrongMachine(String),
    /// The user interrupted the run.
    Interrupted,
    /// The limit of the whole run has passed.
    RunLimit {
        /// The limit, in ms.
        limit_ms: u64,
    },
}

impl GuestLoss {
    /// Whether the run ended, and not the guest: that says nothing about what the guest had done before.
    #[must_use]
    pub const fn is_the_runs(&self) -> bool {
        matches!(self, Self::Interrupted | Self::RunLimit { .. })
    }
}

impl fmt::Display for GuestLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watchdog { which, limit_ms, state } => {
                write!(f, "the {which} limit of {limit_ms} ms passed (QEMU says of the guest: {state})")
            }
            Self::Violation(detail) => write!(f, "protocol violation: {detail}"),
            Self::Vanished(detail) | Self::WrongMachine(detail) => f.write_str(detail),
            Self::Interrupted => f.write_str("interrupted"),
            Self::RunLimit { limit_ms } => write!(f, "the run limit of {limit_ms} ms passed"),
        }
    }
}

/// What came of a guest that was lost. `booted` is whether it had said hello.
///
/// A crash on the console comes first: whatever else was seen is its consequence.
#[must_use]
pub fn lost(loss: &GuestLoss, booted: bool, crash: Option<&Crash>, said_by_init: &[String]) -> Verdict {
    if let (Some(crash), false) = (crash, *loss == GuestLoss::Interrupted) {
        return Verdict::crashed(crash);
    }
    let words = if said_by_init.is_empty() {
        String::new()
    } else {
        format!("; the guest's PID 1 said on the console: {}", said_by_init.join("; "))
    };
    match loss {
        GuestLoss::Interrupted => Verdict::NotRun { reason: "the run was interrupted".to_owned() },
        GuestLoss::WrongMachine(detail) => Verdict::LaunchFailed { detail: format!("{detail}{words}") },
        GuestLoss::Violation(detail) => Verdict::ProtocolViolation { detail: format!("{detail}{words}") },
        GuestLoss::Vanished(detail) if booted => Verdict::GuestVanished { detail: format!("{detail}{words}") },
        GuestLoss::Vanished(detail) => Verdict::LaunchFailed { detail: format!("{detail}{words}") },
        GuestLoss::Watchdog { .. } | GuestLoss::RunLimit { .. } => {
            let detail = format!("{loss}{words}");
            if booted { Verdict::TimedOut { detail } } else { Verdict::LaunchFailed { detail } }
        }
    }
}

/// What came of a guest that never said hello, with what follows from its console and its memory: a kernel that had too
/// little to boot is the lab's doing, and one that ended without a word needs all words there are.
#[must_use]
pub fn lost_at_boot(loss: &GuestLoss, console: &ConsoleReader, memory_mib: u32) -> Verdict {
    let verdict = lost(loss, false, console.crash(), console.said_by_init());
    match (verdict, loss) {
        (crashed @ Verdict::KernelCrashed { .. }, _) => match out_of_memory(crashed.detail(), console) {
            None => crashed,
            Some(words) => Verdict::LaunchFailed {
                detail: format!(
                    "the guest ran out of memory while it booted ({words}); it has {memory_mib} MiB, give it more with --memory"
                ),
            },
        },
        (Verdict::LaunchFailed { detail }, GuestLoss::Vanished(_)) if console.said_by_init().is_empty() => {
            Verdict::LaunchFailed { detail: format!("{detail}{}", last_words(console, memory_mib)) }
        }
        (other, _) => other,
    }
}

/// The line that says that a crash while booting is for want of memory.
fn out_of_memory<'a>(crash: &'a str, console: &'a ConsoleReader) -> Option<&'a str> {
    const TITLES: &[&str] = &["Out of memory", "out of memory", "deadlocked on memory", "System is deadlocked"];
    // The image lies in memory beside the kernel, uncompressed, and its place is not free where there is little.
    const NO_IMAGE: &str = "Initramfs unpacking failed";
    if TITLES.iter().any(|words| crash.contains(words)) {
        return Some(crash);
    }
    let no_root = crash.contains("Unable to mount root fs");
    console.last_lines().find(|line| no_root && line.contains(NO_IMAGE)).map(str::trim)
}

/// How far a boot got that ended in silence; nothing where not even the console was opened.
fn last_words(console: &ConsoleReader, memory_mib: u32) -> String {
    match console.last_lines().map(str::trim).rfind(|line| !line.is_empty()) {
        None => String::new(),
        Some(line) if console.kernel_spoke() => format!("; the console's last line: {line}"),
        Some(line) => format!(
            "; the kernel itself said nothing (the console's last line: {line}); one with too little memory ends like this: \
             it has {memory_mib} MiB, give it more with --memory"
        ),
    }
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
        (Verdict::Passed | Verdict::Leaks { .. }, Some(first)) => {
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
                return Verdict::TimedOut { detail: format!("leg {leg} exceeded its limit of {limit_ms} ms") };
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
