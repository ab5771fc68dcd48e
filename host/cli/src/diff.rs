//! `vmlab diff`: what is different between two runs, or between two kernels of one run.

use std::path::PathBuf;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser as _};
use clap::{Args, ValueHint};

use crate::report::{destination, open_run, refuse};
use crate::suggest::suggest;
use crate::{Context, Failure, output};
use vmlab_diff::difference::Difference;
use vmlab_diff::pair::{self, NoPair};
use vmlab_diff::render::{BadForm, Comparison, Form, render};
use vmlab_diff::side::{Side, sides};
use vmlab_events::{clean, exit};
use vmlab_store::record;

const EXAMPLES: &str = "\
Examples:
  vmlab diff                                         the run before the latest, and the latest
  vmlab diff 20261128-11 latest                      two runs, kernel by kernel
  vmlab diff before.jsonl after.jsonl                files from `vmlab run --report json=FILE`
  vmlab diff -k debian:bullseye -k debian:trixie     two kernels of the latest run
  vmlab diff -k tree:linux -k tree:patched 20261129  two kernels of another run
  vmlab diff --format markdown -o diff.md            for a cover letter or a pull request

Exit codes:
  0  nothing is worse in the new run
  1  a regression: a job broke or has no result any more, the kernel reports something new
     about itself, or an operation became dearer by more than it varies
  2  there is no such run or kernel, or the runs have no kernel in common
 69  a record is damaged, or the output could not be written";

/// Compare two runs, or two kernels of one run: what broke, what is fixed, what is skipped, and what the kernel says
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// The old run and the new one: `latest`, a run's name or the beginning of one, or a path [default: the run before the
    /// latest and the latest; with two kernels one run, the latest]
    #[arg(value_name = "RUN", num_args = 0..=2)]
    runs: Vec<String>,

    /// Compare these two kernels, the old one first: of the same run, or the first of the old run and the second of the new
    /// one. With two runs also one kernel of both
    #[arg(long = "kernel", short, value_name = "KERNEL")]
    kernels: Vec<String>,

    /// The form
    #[arg(long, value_name = "FORMAT", default_value_t, value_parser = suggest(
        StringValueParser::new().try_map(|name| -> Result<Form, BadForm> { name.parse() }), forms))]
    format: Form,

    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

fn forms() -> Vec<PossibleValue> {
    Form::described().map(|(name, about)| PossibleValue::new(name).help(about)).collect()
}

/// A run, and its results.
struct Run {
    name: String,
    sides: Vec<Side>,
}

/// Fails with [`exit::USAGE`] if there is no such run or kernel, and with [`exit::LAB`] if a record cannot be read.
pub(super) fn run(args: &DiffArgs, context: &Context) -> Result<u8, Failure> {
    let comparison = match (args.kernels.as_slice(), args.runs.as_slice()) {
        ([], runs) => {
            let (old, new) = two(runs, context)?;
            kernel_by_kernel(&old, &new)?
        }
        ([kernel], [old, new]) => of(&read(old, context)?, kernel, &read(new, context)?, kernel)?,
        ([_], _) => {
            return Err(Failure::usage(
                "one kernel can be compared in two runs only; name both runs, or a second kernel (--kernel)",
            ));
        }
        ([old, new], []) => one(record::LATEST, old, new, context)?,
        ([old, new], [run]) => one(run, old, new, context)?,
        ([old, new], [before, after]) => of(&read(before, context)?, old, &read(after, context)?, new)?,
        _ => return Err(Failure::usage("two kernels can be compared, the old one and the new one")),
    };
    let text = render(&comparison, args.format);
    output::write(&text, "the differences", &destination(args.output.as_deref()))?;
    Ok(if comparison.is_regression() { exit::FAILED } else { exit::OK })
}

/// The two runs that are meant.
fn two(runs: &[String], context: &Context) -> Result<(Run, Run), Failure> {
    match runs {
        [old, new, ..] => Ok((read(old, context)?, read(new, context)?)),
        [old] => Ok((read(old, context)?, read(record::LATEST, context)?)),
        [] => {
            let listed = record::list(&context.dirs).map_err(|error| refuse(&error))?;
            let [new, old, ..] = listed.as_slice() else {
                let why = "there are no two runs with a record to compare; `vmlab run` makes one, `vmlab report --list` \
                           shows them";
                return Err(Failure::usage(why));
            };
            Ok((read(&old.id, context)?, read(&new.id, context)?))
        }
    }
}

fn read(name: &str, context: &Context) -> Result<Run, Failure> {
    let sides = sides(&open_run(name, context)?.events);
    let Some(first) = sides.first() else { return Err(refused(&NoPair::NoResults(clean::line(name)))) };
    Ok(Run { name: first.about.run.clone(), sides })
}

fn kernel_by_kernel(old: &Run, new: &Run) -> Result<Comparison, Failure> {
    let (pairs, alone) = pair::of_runs(&old.sides, &new.sides).map_err(|error| refused(&error))?;
    let names = |targets: &[&vmlab_events::target::TargetId]| -> Vec<String> {
        targets.iter().map(|target| clean::line(target.as_str())).collect()
    };
    Ok(Comparison {
        pairs: pairs.into_iter().map(|(old, new)| Difference::between(old, new)).collect(),
        only_old: names(&alone.old),
        only_new: names(&alone.new),
    })
}

/// Two kernels of one run.
fn one(run: &str, old: &str, new: &str, context: &Context) -> Result<Comparison, Failure> {
    let run = read(run, context)?;
    of(&run, old, &run, new)
}

fn of(before: &Run, old: &str, after: &Run, new: &str) -> Result<Comparison, Failure> {
    let difference = Difference::between(side(before, old)?, side(after, new)?);
    Ok(Comparison { pairs: vec![difference], only_old: Vec::new(), only_new: Vec::new() })
}

fn side<'a>(run: &'a Run, kernel: &str) -> Result<&'a Side, Failure> {
    pair::on(&run.sides, &run.name, kernel).map_err(|error| refused(&error))
}

fn refused(error: &NoPair) -> Failure {
    Failure::usage(error)
}
