//! `vmlab selftest scenarios`: proves that every scenario can fail.

use clap::Args;
use vmlab_events::error::chain;
use vmlab_events::exit;
use vmlab_events::job::JobSpec;
use vmlab_image::guest_init;
use vmlab_kernel::KernelSource;
use vmlab_lab::Plan;
use vmlab_lab::select::{self, Filter};
use vmlab_selftest::mutations::{Mutation, Outcome, Shown, Verdicts, compare};

use super::verdicts::collect;
use crate::{Context, Failure, output};

/// Prove that scenarios can fail: take the sandbox from each, then give it to each control, and compare the verdicts
///
/// With its subject in the control's sandbox, a scenario must FAIL or be VACUOUS. With its control in the subject's sandbox, it
/// must be VACUOUS. Takes three times as long as a run of the same scenarios.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ScenariosArgs {
    /// Scenarios to prove: a part of their names, or =NAME for exactly that one [default: all]
    #[arg(value_name = "FILTER")]
    filters: Vec<Filter>,

    /// Kernel to run on; may be given several times [default: the catalogue's default]
    #[arg(short, long = "kernel", value_name = "KERNEL")]
    kernels: Vec<KernelSource>,
}

const EXAMPLES: &str = "\
Examples:
  vmlab selftest scenarios                                   all scenarios on the default kernel
  vmlab selftest scenarios mount -k debian:trixie-backports  an area, on another kernel

Exit codes:
  0 every scenario that ran can fail   1 a scenario stays green with a fault, or is not green without one
  4 no scenario ran";

pub(super) async fn run(args: &ScenariosArgs, context: &Context) -> Result<u8, Failure> {
    let catalogue = guest_init::catalogue().map_err(|error| Failure::lab(chain(&error)))?;
    let chosen =
        select::select(catalogue, &args.filters).map_err(|error| Failure::with_code(exit::NOTHING_RAN, error))?;
    let tried = async |mutation: Option<Mutation>| -> Result<Verdicts, Failure> {
        let jobs = chosen.iter().cloned().map(JobSpec::from).collect();
        let append = mutation.map(Mutation::parameter).map(str::parse).transpose().map_err(Failure::lab)?;
        let plan = Plan { kernels: args.kernels.clone(), append: append.unwrap_or_default(), ..Plan::new(jobs) };
        collect(plan, context).await
    };
    let sound = tried(None).await?;
    let (subject, control) = (tried(Some(Mutation::Subject)).await?, tried(Some(Mutation::Control)).await?);
    let shown = compare(catalogue, &sound, &subject, &control);
    output::print(&table(&shown))?;
    Ok(exit_code(&shown))
}

fn exit_code(shown: &[Shown]) -> u8 {
    if shown.iter().any(|shown| matches!(shown.outcome, Outcome::Wrong(_))) {
        exit::FAILED
    } else if shown.iter().any(|shown| shown.outcome == Outcome::Right) {
        exit::OK
    } else {
        exit::NOTHING_RAN
    }
}

fn table(shown: &[Shown]) -> String {
    let width = shown.iter().map(|shown| shown.scenario.len()).max().unwrap_or_default().max("SCENARIO".len());
    let (targets, heading) =
        (shown.iter().map(|shown| shown.target.as_str().len()).max().unwrap_or_default().max("KERNEL".len()), "KERNEL");
    let mut text = format!(
        "{heading:<targets$}  {:<width$}  {:<8}  {:<15}  CONTROL SANDBOXED\n",
        "SCENARIO", "SOUND", "WITHOUT SANDBOX"
    );
    for Shown { target, scenario, labels: (sound, subject, control), outcome } in shown {
        let (control, target) = (control.unwrap_or("no control"), target.as_str());
        let (word, wrong) = match outcome {
            Outcome::Right => ("right", [].as_slice()),
            Outcome::Skipped => ("not done", [].as_slice()),
            Outcome::Wrong(wrong) => ("WRONG", wrong.as_slice()),
        };
        text.push_str(&format!(
            "{target:<targets$}  {scenario:<width$}  {sound:<8}  {subject:<15}  {control:<17}  {word}\n"
        ));
        wrong.iter().for_each(|wrong| text.push_str(&format!("    {wrong}\n")));
    }
    let count = |is: fn(&Outcome) -> bool| shown.iter().filter(|shown| is(&shown.outcome)).count();
    let (right, wrong) = (count(|o| *o == Outcome::Right), count(|o| matches!(o, Outcome::Wrong(_))));
    let skipped = count(|o| *o == Outcome::Skipped);
    text + &format!("\n{right} right, {wrong} wrong, {skipped} not done because the kernel lacks the feature\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::target::TargetId;

    fn shown(outcome: Outcome) -> Shown {
        let labels = match outcome {
            Outcome::Skipped => ("SKIP", "SKIP", Some("SKIP")),
            _ => ("PASS", "FAIL", Some("VACUOUS")),
        };
        Shown { target: TargetId::new("debian:trixie"), scenario: "uts.hostname".to_owned(), labels, outcome }
    }

    #[test]
    fn success_needs_a_right_scenario_and_no_wrong_one() {
        let wrong = || shown(Outcome::Wrong(vec!["with the subject outside the verdict is PASS".to_owned()]));
        assert_eq!(exit_code(&[shown(Outcome::Right), shown(Outcome::Skipped)]), exit::OK);
        assert_eq!(exit_code(&[shown(Outcome::Right), wrong()]), exit::FAILED);
        assert_eq!(exit_code(&[shown(Outcome::Skipped)]), exit::NOTHING_RAN);
        let text = table(&[shown(Outcome::Right), wrong()]);
        assert!(text.contains("WRONG\n    with the subject outside"), "{text}");
        assert!(text.ends_with("\n1 right, 1 wrong, 0 not done because the kernel lacks the feature\n"), "{text}");
    }
}
