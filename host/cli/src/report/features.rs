//! `vmlab report --features`: runs, held against the list of features.

use super::{AnyFormat, ReportArgs, destination, open_run, refuse};
use crate::{Context, Failure, output};
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_events::job::JobSpec;
use vmlab_features::render::{self, Form};
use vmlab_features::results::Results;
use vmlab_features::table::{self, Report};
use vmlab_features::{findings, list};
use vmlab_image::guest_init;
use vmlab_protocol::catalogue::ScenarioSpec;
use vmlab_report::style::{Facts, Style};
use vmlab_store::record::{self, Listed, StoredRun};

/// Fails as `vmlab report` does.
pub(super) fn print(args: &ReportArgs, context: &Context) -> Result<u8, Failure> {
    let form = args.format.as_ref().map_or(Ok(Form::Text), AnyFormat::of_features)?;
    let runs = if args.runs.is_empty() { vec![latest(context)?] } else { args.runs.clone() };
    let report = report(&runs, context)?;
    let columns = Style::decide_again(&Facts::gather()).columns;
    let destination = destination(args.output.as_deref());
    let text = render::render(&report, form, columns).map_err(Failure::lab)?;
    output::write(&text, "the table of features", &destination).map(|()| exit::OK)
}

/// The latest run with scenarios; the latest run, if none has. Runs of commands and of suites, and those that only measure, say
/// little about features. Records that cannot be read are passed over: `vmlab report --list` tells why.
fn latest(context: &Context) -> Result<String, Failure> {
    let listed = record::list(&context.dirs).map_err(|error| refuse(&error))?;
    let catalogue = catalogue()?;
    let has = |run: &&Listed| run.jobs.iter().any(|job| catalogue.iter().any(|spec| spec.id.as_str() == job));
    let Some(run) = listed.iter().find(has) else { return Ok(record::LATEST.to_owned()) };
    if listed.first().is_some_and(|newest| newest.id != run.id) {
        let why = "newer runs have no scenarios that show features; name a run to take another";
        output::notes(&[format!("this is the table of run {}: {why}", run.id)]);
    }
    Ok(run.id.clone())
}

fn catalogue() -> Result<&'static [ScenarioSpec], Failure> {
    guest_init::catalogue().map_err(|error| Failure::lab(vmlab_events::error::chain(&error)))
}

fn report(runs: &[String], context: &Context) -> Result<Report, Failure> {
    let measures = guest_init::measures().map_err(|error| Failure::lab(vmlab_events::error::chain(&error)))?;
    let catalogue: Vec<_> = catalogue()?.iter().chain(measures).cloned().collect();
    let groups = list::embedded().map_err(Failure::lab)?;
    let findings = findings::embedded().map_err(Failure::lab)?;
    let mut results = Results::default();
    for run in runs {
        let stored = open_run(run, context)?;
        results.add(&stored.events);
        if !has_scenarios(&stored) {
            output::notes(&[format!("the run {run} ran no scenarios; `vmlab report --list` shows the others")]);
        }
    }
    Ok(table::make(&groups, findings, &results, &catalogue))
}

/// Whether scenarios were among the jobs of a run.
fn has_scenarios(stored: &StoredRun) -> bool {
    stored.events.iter().any(|stamped| match &stamped.event {
        LabEvent::RunStarted { jobs, .. } => jobs.iter().any(|job| matches!(job, JobSpec::Scenario(_))),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Items that are no features: vmlab's own.
    const NO_FEATURES: [&str; 1] = ["lab"];

    fn codes() -> BTreeSet<String> {
        list::embedded().unwrap().into_iter().flat_map(|group| group.features).map(|feature| feature.code).collect()
    }

    #[test]
    fn each_item_of_a_scenario_is_in_the_list_of_features() {
        let codes = codes();
        for spec in guest_init::catalogue().unwrap() {
            for item in spec.items.iter().filter(|item| !NO_FEATURES.contains(&item.as_str())) {
                assert!(codes.contains(item), "{} shows `{item}`, which host/features/src/data does not have", spec.id);
            }
        }
    }

    /// `vmlab kernel info` shows whether a kernel has what scenarios need.
    #[test]
    fn each_symbol_that_a_scenario_needs_is_among_those_of_kernel_info() {
        let known = vmlab_kernel::catalogue::Catalogue::embedded().unwrap().symbols;
        let specs = guest_init::catalogue().unwrap().iter().chain(guest_init::measures().unwrap());
        for spec in specs {
            for symbol in &spec.requires.config {
                let is_known = known.iter().any(|group| group.names.contains(symbol));
                assert!(is_known, "{} needs {symbol}, which kernel-configs/kernels.toml does not have", spec.id);
            }
        }
    }

    /// The kernel split is a choice of kernels for 32-bit processors, which vmlab does not boot.
    const NOT_SHOWN: &str = "0b-v1";

    #[test]
    fn each_feature_has_a_scenario() {
        let mut missing = codes();
        assert!(missing.remove(NOT_SHOWN));
        let specs = guest_init::catalogue().unwrap().iter().chain(guest_init::measures().unwrap());
        for item in specs.flat_map(|spec| &spec.items) {
            missing.remove(item);
        }
        assert!(missing.is_empty(), "{} features have no scenario: {missing:?}", missing.len());
    }

    #[test]
    fn each_finding_names_scenarios_that_exist() {
        let catalogue = guest_init::catalogue().unwrap();
        for finding in findings::embedded().unwrap() {
            let Some(arguments) = finding.reproduce.strip_prefix("vmlab run ") else { continue };
            let named = arguments.split(' ').filter_map(|word| word.strip_prefix('='));
            for name in named {
                assert!(catalogue.iter().any(|spec| spec.id.as_str() == name), "{}: {name}", finding.name);
            }
        }
    }
}
