//! `vmlab list`: the scenarios, with what they need and which part of the seeds they show.

use std::io::{self, Write};

use clap::Args;
use vmlab_protocol::catalogue::{Control, Expectation, ScenarioSpec};

use super::{Context, Failure, output};
use crate::exit;
use crate::image::guest_init;
use crate::plan::{self, Filter};

/// List the scenarios, with what they need and which part of the seeds they show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vmlab list\n  vmlab list time -v\n  vmlab list --json | jq -r '.[].id'")]
pub struct ListArgs {
    /// Which scenarios: a part of their names, or =NAME for exactly that one; all where none is given
    #[arg(value_name = "FILTER")]
    filters: Vec<Filter>,

    /// As a JSON array
    #[arg(long, conflicts_with = "verbose")]
    json: bool,

    /// Show what each scenario needs and where its behaviour is documented
    #[arg(short, long)]
    verbose: bool,
}

pub(super) fn run(args: &ListArgs, _context: &Context) -> Result<u8, Failure> {
    let catalogue = guest_init::catalogue().map_err(|error| Failure::lab(crate::error::chain(&error)))?;
    let chosen = plan::select(catalogue, &args.filters)
        .map_err(|error| Failure::with_code(exit::NOTHING_RAN, error))?;
    output(|out| {
        if args.json {
            serde_json::to_writer_pretty(&mut *out, &chosen)?;
            return writeln!(out);
        }
        chosen.iter().try_for_each(|spec| if args.verbose { describe(out, spec) } else { line(out, spec) })
    })
}

fn line(out: &mut dyn Write, spec: &ScenarioSpec) -> io::Result<()> {
    let leak = if spec.expects == Expectation::Leak { " (leaks by design)" } else { "" };
    writeln!(out, "{:<26} {:<14} {}{leak}", spec.id.as_str(), spec.seed, spec.title)
}

fn describe(out: &mut dyn Write, spec: &ScenarioSpec) -> io::Result<()> {
    line(out, spec)?;
    let needs = &spec.requires;
    writeln!(out, "    needs     Linux {} {}", needs.since, needs.config.join(" "))?;
    if !spec.modules.is_empty() {
        writeln!(out, "    modules   {}", spec.modules.join(" "))?;
    }
    if !spec.namespaces.is_empty() {
        let names: Vec<_> = spec.namespaces.iter().map(|namespace| format!("{namespace:?}").to_lowercase()).collect();
        writeln!(out, "    inside    {}", names.join(" "))?;
    }
    if let Control::Impossible { why } = &spec.control {
        writeln!(out, "    control   none: {why}")?;
    }
    writeln!(out, "    source    {}", spec.source)
}
