//! Runs a leg in the process that the agent has forked for it.

use std::str::FromStr;

use nix::sys::utsname::uname;
use vmlab_protocol::catalogue::{Expectation, KernelVersion};
use vmlab_protocol::message::{Leg, LegOutcome, Side};

use super::{Experiment, Finding, Probe, Trouble};
use crate::sandbox::{During, placed, undo};

/// A fault that the host injects into every scenario, to show that none passes with it (`vmlab selftest scenarios`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The subject runs in the control's sandbox, so that nothing isolates it.
    Subject,
    /// The control runs in the subject's sandbox, so that it cannot leak.
    Control,
}

impl FromStr for Mutation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "subject" => Ok(Self::Subject),
            "control" => Ok(Self::Control),
            _ => Err("expected subject or control"),
        }
    }
}

/// What the legs of a guest have in common.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Setting {
    /// The fault that every scenario gets.
    pub(crate) mutation: Option<Mutation>,
    /// Which of two linked guests it is, if it is one of two.
    pub(crate) side: Option<Side>,
}

/// Runs one leg of a scenario in the calling process, which must be root in the initial namespaces and have one thread.
#[must_use]
pub(crate) fn run_leg(experiment: &Experiment, leg: Leg, setting: Setting) -> LegOutcome {
    let outcome = match leg {
        Leg::Probe => probe(experiment).map(|probe| match probe {
            Probe::Available => LegOutcome::Available,
            Probe::Missing(evidence) => LegOutcome::Missing { evidence },
        }),
        Leg::Subject => subject(experiment, setting).map(outcome_of),
        Leg::Control => control(experiment, setting).map(outcome_of),
    };
    undo::check_undone(outcome).unwrap_or_else(|trouble| LegOutcome::Failed { detail: trouble.into_text() })
}

fn probe(experiment: &Experiment) -> Result<Probe, Trouble> {
    // The sandbox's probe comes last, because it leaves this process in new namespaces.
    experiment.probe.map_or(Ok(Probe::Available), |own| own())?.and(|| experiment.sandbox.probe())
}

fn subject(experiment: &Experiment, setting: Setting) -> Result<Finding, Trouble> {
    let namespaces = experiment.sandbox.namespaces();
    let sandbox =
        if setting.mutation == Some(Mutation::Subject) { experiment.control_sandbox() } else { experiment.sandbox };
    let finding = (experiment.trial)(&sandbox.watching(namespaces).on_side(setting.side))?;
    // A leak where isolation is expected is a failure, wherever the processes were.
    if matches!(finding, Finding::Isolated(_)) || expects(experiment)? == Expectation::Leak {
        let is_placed = namespaces.is_empty() || placed::all_in(namespaces);
        if !is_placed {
            return Err(Trouble::new(format_args!(
                "{}, but no process was in new namespaces {namespaces:?}",
                finding.detail()
            )));
        }
    }
    Ok(finding)
}

/// The control shows what the subject is isolated from, so it must not itself run in the subject's sandbox. Where a mechanism
/// makes the difference, both may be in the same namespaces.
fn control(experiment: &Experiment, setting: Setting) -> Result<Finding, Trouble> {
    if let Some(why) = experiment.no_control {
        return Err(Trouble::new(format_args!("no control is possible for this scenario: {why}")));
    }
    let namespaces = experiment.sandbox.namespaces();
    let own = experiment.control_sandbox();
    let sandbox = if setting.mutation == Some(Mutation::Control) { experiment.sandbox } else { own };
    let finding = (experiment.trial)(&sandbox.watching(namespaces).on_side(setting.side))?;
    let missing: Vec<_> =
        namespaces.iter().copied().filter(|namespace| !own.namespaces().contains(namespace)).collect();
    let is_inside = !missing.is_empty() && placed::all_in(&missing);
    Ok(match finding {
        Finding::Leaked(detail) if is_inside => {
            Finding::Isolated(format!("{detail}; but the control was in new namespaces {missing:?}, as the subject"))
        }
        finding => finding,
    })
}

/// What this kernel is documented to do.
fn expects(experiment: &Experiment) -> Result<Expectation, Trouble> {
    let release = uname().during("uname(2)")?.release().to_string_lossy().into_owned();
    let version: KernelVersion = release.parse().during("reading the kernel's version")?;
    Ok(experiment.expects_of(version))
}

fn outcome_of(finding: Finding) -> LegOutcome {
    match finding {
        Finding::Isolated(detail) => LegOutcome::Isolated { detail },
        Finding::Leaked(detail) => LegOutcome::Leaked { detail },
    }
}
