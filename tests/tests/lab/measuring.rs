//! Measuring scenarios: their machine, their figures, their verdicts.

use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_protocol::figure::{Figure, Inconclusive, Unit};
use vmlab_protocol::message::{Leg, LegOutcome};
use vmlab_tests::fake::script::{Action, Guest, hello, scenario};
use vmlab_tests::outcome::Outcome;

use crate::{HOSTNAME, ONLY_HOSTNAME, lab};

const NAME: &str = "measure.syscalls";

/// A run with a guest that measures this.
fn measured(figures: Vec<Figure>, inconclusive: Vec<Inconclusive>) -> Outcome {
    let outcome = LegOutcome::Measured { figures, inconclusive };
    let legs = scenario(1, NAME, &[(Leg::Probe, LegOutcome::Available), (Leg::Subject, outcome)]);
    let actions = [vec![hello()], legs, vec![Action::ServeRest]].concat();
    lab(vec![Guest::new(actions)]).run(&["--measure", "=measure.syscalls"])
}

fn figure(control_permille: u64) -> Figure {
    Figure {
        operation: "getpid".to_owned(),
        baseline: "the same outside".to_owned(),
        unit: Unit::Instructions,
        median_milli: 312_080,
        spread_permille: 6,
        interval_permille: 9,
        baseline_milli: 312_060,
        ratio_permille: 1000,
        control_permille,
        blocks: 9,
    }
}

#[test]
fn figures_are_in_the_report_and_their_machine_counts_instructions() {
    let outcome = measured(vec![figure(0)], Vec::new());
    outcome.exits(exit::OK).has(NAME, "PASS", "");
    let report = outcome.ended.stdout.lines().find(|line| line.contains("getpid")).unwrap_or_default().to_owned();
    assert!(report.contains("312.0") && report.contains("0.6 %") && report.contains("1.00"), "{}", outcome.ended);
    let argv = outcome.events.iter().find_map(|stamped| match &stamped.event {
        LabEvent::GuestStarting { argv, .. } => Some(argv.join(" ")),
        _ => None,
    });
    let argv = argv.unwrap_or_default();
    assert!(argv.contains("-icount shift=0,sleep=off -rtc clock=vm"), "{argv}");
    assert!(argv.contains("vmlab.clock=instructions"), "{argv}");
}

#[test]
fn figures_of_an_unsteady_machine_are_invalid_and_fail() {
    let outcome = measured(vec![figure(0), figure(11)], Vec::new());
    outcome.exits(exit::FAILED).has(NAME, "FAIL", "INVALID: getpid: the baseline differs from itself by 1.1 %");
}

#[test]
fn a_machine_that_can_show_nothing_is_a_skip() {
    let gap = Inconclusive { operation: "two CPUs at once".to_owned(), why: "there is one CPU".to_owned() };
    let outcome = measured(Vec::new(), vec![gap]);
    outcome.exits(exit::NOTHING_RAN).has(NAME, "SKIP", "INCONCLUSIVE: two CPUs at once: there is one CPU");
}

#[test]
fn no_measuring_scenario_can_report_a_finding() {
    let isolated = LegOutcome::Isolated { detail: "kept".to_owned() };
    let legs = scenario(1, NAME, &[(Leg::Probe, LegOutcome::Available), (Leg::Subject, isolated)]);
    let outcome = lab(vec![Guest::new([vec![hello()], legs].concat())]).run(&["--measure", "=measure.syscalls"]);
    outcome.exits(exit::LAB).has(NAME, "GARBLED", "");
}

#[test]
fn a_plain_run_measures_nothing() {
    let outcome = lab(vec![Guest::good()]).run(&[ONLY_HOSTNAME]);
    outcome.exits(exit::OK).has(HOSTNAME, "PASS", "");
    let ended = lab(Vec::new());
    let ended = ended.env.run(&ended.arguments(&["=measure.syscalls"]));
    ended.exits(exit::NOTHING_RAN);
    assert!(ended.stderr.contains("measuring scenarios run with `vmlab run --measure`"), "{ended}");
}
