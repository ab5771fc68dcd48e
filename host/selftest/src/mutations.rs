//! Proves that scenarios can fail: every scenario runs with a fault that takes its isolation away, and with a fault that isolates
//! its control. No verdict may stay green. The faults are in `init/src/scenarios/leg.rs`.

use std::collections::BTreeMap;

use vmlab_events::target::TargetId;
use vmlab_events::verdict::Verdict;
use vmlab_protocol::catalogue::{Control, ScenarioSpec};

/// The verdicts of a run, by target and scenario.
pub type Verdicts = BTreeMap<(TargetId, String), Verdict>;

/// A fault in every scenario of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The subject runs in the control's sandbox: without the namespaces, the limit or the mechanism.
    Subject,
    /// The control runs in the subject's sandbox.
    Control,
}

impl Mutation {
    /// The parameter of the kernel's command line that asks for the fault.
    #[must_use]
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Subject => "vmlab.mutation=subject",
            Self::Control => "vmlab.mutation=control",
        }
    }

    /// The verdicts that are right.
    const fn due(self) -> &'static [&'static str] {
        match self {
            Self::Subject => &["FAIL", "VACUOUS"],
            Self::Control => &["VACUOUS"],
        }
    }
}

/// What the two faults showed of a scenario on a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The target.
    pub target: TargetId,
    /// The scenario's name.
    pub scenario: String,
    /// The verdict's label without a fault, with [`Mutation::Subject`], and with [`Mutation::Control`]. The last is None if the
    /// scenario has no control.
    pub labels: (&'static str, &'static str, Option<&'static str>),
    /// Whether the scenario can fail.
    pub outcome: Outcome,
}

/// Whether a scenario can fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Both faults changed the verdict as they must.
    Right,
    /// A sentence for each verdict that is not as it must be.
    Wrong(Vec<String>),
    /// The kernel lacks the feature, so there was nothing to show.
    Skipped,
}

/// Compares the runs with a fault with the run without one. `sound` has a verdict for each scenario and target.
#[must_use]
pub fn compare(catalogue: &[ScenarioSpec], sound: &Verdicts, subject: &Verdicts, control: &Verdicts) -> Vec<Shown> {
    let compare = |((target, name), verdict): (&(TargetId, String), &Verdict)| {
        let key = (target.clone(), name.clone());
        let has_control = catalogue.iter().any(|spec| spec.id.as_str() == name && spec.control == Control::Runs);
        let label = |verdicts: &Verdicts| verdicts.get(&key).map_or("NOT-RUN", Verdict::label);
        let labels = (verdict.label(), label(subject), has_control.then(|| label(control)));
        Shown { target: target.clone(), scenario: name.clone(), labels, outcome: outcome(labels) }
    };
    sound.iter().map(compare).collect()
}

fn outcome((sound, subject, control): (&str, &str, Option<&str>)) -> Outcome {
    let mut wrong = Vec::new();
    match sound {
        "SKIP" if [Some(subject), control].into_iter().flatten().all(|label| label == "SKIP") => {
            return Outcome::Skipped;
        }
        "PASS" | "LEAK" => {}
        other => wrong.push(format!("without a fault the verdict is {other}")),
    }
    if !Mutation::Subject.due().contains(&subject) {
        wrong.push(format!("with the subject in the control's sandbox the verdict is {subject}"));
    }
    if let Some(control) = control.filter(|label| !Mutation::Control.due().contains(label)) {
        wrong.push(format!("with the control in the subject's sandbox the verdict is {control}"));
    }
    if wrong.is_empty() { Outcome::Right } else { Outcome::Wrong(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_verdict_may_stay_green_or_become_a_crash() {
        let wrongs = |labels| match outcome(labels) {
            Outcome::Wrong(wrong) => wrong.len(),
            Outcome::Right | Outcome::Skipped => 0,
        };
        for right in [("PASS", "FAIL", Some("VACUOUS")), ("LEAK", "VACUOUS", Some("VACUOUS")), ("PASS", "FAIL", None)] {
            assert_eq!(outcome(right), Outcome::Right, "{right:?}");
        }
        assert_eq!(outcome(("SKIP", "SKIP", Some("SKIP"))), Outcome::Skipped);
        assert_eq!(wrongs(("PASS", "PASS", Some("VACUOUS"))), 1);
        assert_eq!(wrongs(("PASS", "FAIL", Some("PASS"))), 1);
        assert_eq!(wrongs(("PASS", "CRASH", Some("FAIL"))), 2);
        assert_eq!(wrongs(("LEAK", "LEAK", Some("LEAK"))), 2);
        assert_eq!(wrongs(("SKIP", "FAIL", Some("VACUOUS"))), 1);
        assert_eq!(wrongs(("FAIL", "FAIL", Some("VACUOUS"))), 1);
    }

    #[test]
    fn a_scenario_without_a_verdict_is_wrong() {
        let target = TargetId::new("debian:trixie");
        let sound = Verdicts::from([((target, "uts.hostname".to_owned()), Verdict::Passed)]);
        let shown = compare(vmlab_image::guest_init::catalogue().unwrap(), &sound, &Verdicts::new(), &Verdicts::new());
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].labels, ("PASS", "NOT-RUN", Some("NOT-RUN")));
        assert!(matches!(&shown[0].outcome, Outcome::Wrong(wrong) if wrong.len() == 2));
    }
}
