//! `vmlab list`: the scenarios.

use clap::Args;
use vmlab_protocol::catalogue::{Control, Expectation, ScenarioSpec};

use super::{Failure, output};
use vmlab_events::exit;
use vmlab_image::guest_init;
use vmlab_lab::select::{self, Filter};

/// List the scenarios
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArgs {
    /// Scenarios to list: a part of their names, or =NAME for exactly that one [default: all]
    #[arg(value_name = "FILTER")]
    filters: Vec<Filter>,

    /// Print a JSON array
    #[arg(long, conflicts_with = "verbose")]
    json: bool,

    /// Also print what each scenario needs of the kernel, and where its behaviour is documented
    #[arg(short, long)]
    verbose: bool,
}

const EXAMPLES: &str = "\
Examples:
  vmlab list
  vmlab list time -v
  vmlab list --json | jq -r '.[].id'";

pub(super) fn run(args: &ListArgs) -> Result<u8, Failure> {
    let catalogue = guest_init::catalogue().map_err(|error| Failure::lab(vmlab_events::error::chain(&error)))?;
    let chosen =
        select::select(catalogue, &args.filters).map_err(|error| Failure::with_code(exit::NOTHING_RAN, error))?;
    if args.json {
        output::print_json(&chosen)?;
    } else {
        let show = if args.verbose { describe } else { line };
        output::print(&chosen.iter().map(show).collect::<String>())?;
    }
    Ok(exit::OK)
}

fn line(spec: &ScenarioSpec) -> String {
    let leak = if spec.expects == Expectation::Leak { " (leaks by design)" } else { "" };
    format!("{:<22} {}{leak}\n", spec.id.as_str(), spec.title)
}

fn describe(spec: &ScenarioSpec) -> String {
    let needs = &spec.requires;
    let mut facts = vec![("needs", format!("Linux {} {}", needs.since, needs.config.join(" ")))];
    if spec.machine.cpus > 1 {
        facts.push(("machine", format!("{} CPUs", spec.machine.cpus)));
    }
    if !spec.modules.is_empty() {
        facts.push(("modules", spec.modules.join(" ")));
    }
    if !spec.namespaces.is_empty() {
        let names = spec.namespaces.iter().map(|namespace| format!("{namespace:?}").to_lowercase());
        facts.push(("inside", names.collect::<Vec<_>>().join(" ")));
    }
    if let Control::Impossible { why } = &spec.control {
        facts.push(("control", format!("none: {why}")));
    }
    facts.push(("source", spec.source.clone()));
    let facts: String = facts.iter().map(|(name, text)| format!("    {name:<9} {}\n", text.trim_end())).collect();
    line(spec) + &facts
}
