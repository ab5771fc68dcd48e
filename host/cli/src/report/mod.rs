//! `vmlab report`: renders a run again from its record, in any format; or holds runs against the list of features.

mod features;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{StringValueParser, TypedValueParser as _};
use clap::{Args, ValueHint};

use crate::suggest::{report_formats, suggest};
use crate::{Context, Failure, output};
use vmlab_events::event::{LabEvent, Stamped};
use vmlab_events::exit;
use vmlab_events::target::TargetId;
use vmlab_events::{clean, text};
use vmlab_features::render::Form;
use vmlab_report::screen::Screen;
use vmlab_report::style::{Facts, Style, Verbosity};
use vmlab_report::{Destination, Format, ReportSpec, Reporters, Setup};
use vmlab_store::record::{self, Listed, RecordError, RunState, StoredRun};

const EXAMPLES: &str = "\
Examples:
  vmlab report                                     the latest run
  vmlab report --list                              all runs that have a record
  vmlab report 20261122-11 --format ktap           a run, by the beginning of its name
  vmlab report latest --format junit -o junit.xml  a JUnit file of the latest run
  vmlab report ./events.jsonl                      a file from `vmlab run --report json=FILE`
  vmlab report --features                          the features of 2006 on the kernels of the latest run with scenarios
  vmlab report --features 20261127 20261128 --format html -o features.html
                                                   a page, from two runs

Exit codes (they say whether the report was rendered, not how the run ended):
  0  the report was rendered
  2  there is no such run, or the output file cannot be made
 69  the record is damaged, or the report could not be written";

/// Render a finished run again, in any format
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    /// Run to render: `latest`, a run's name or the beginning of one, or a path; with --features also several [default:
    /// latest; with --features the latest with scenarios]
    #[arg(value_name = "RUN")]
    runs: Vec<String>,

    /// Print which of the features that the discussion of 2006 asked for work on each kernel (see `vmlab help features`)
    #[arg(long, conflicts_with_all = ["list", "verbose", "quiet", "timings"])]
    features: bool,

    // The table of formats gives their names and descriptions.
    #[arg(
        long,
        value_name = "FORMAT",
        value_parser = suggest(StringValueParser::new().try_map(|name| AnyFormat::from_str(&name)), report_formats),
        hide_possible_values = true,
        conflicts_with = "list",
        help = format!("The form of the report: {} [default: human]; with --features: {} [default: text]",
            Format::list(), Form::list()),
        long_help = format!("The form of the report [default: human]:\n{}\nWith --features [default: text]:\n{}",
            Format::described(), Form::described())
    )]
    format: Option<AnyFormat>,

    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE", conflicts_with = "list", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// List the runs that have a record, newest first
    #[arg(long, conflicts_with = "runs")]
    list: bool,

    /// Also print what passing scenarios found and printed
    #[arg(long, short, conflicts_with_all = ["list", "quiet"])]
    verbose: bool,

    /// Print where the time went, phase by phase
    #[arg(long, conflicts_with = "list")]
    timings: bool,

    /// Print only the table, the summary, and the reasons for missing results
    #[arg(long, short, conflicts_with = "list")]
    quiet: bool,
}

/// Fails with [`exit::USAGE`] if there is no such run, and with [`exit::LAB`] if it cannot be read or rendered.
pub(super) fn report(args: &ReportArgs, context: &Context) -> Result<u8, Failure> {
    if args.list {
        return list(context);
    }
    if args.features {
        return features::print(args, context);
    }
    let format = args.format.as_ref().map_or(Ok(Format::Human), AnyFormat::of_run)?;
    if args.timings && format != Format::Human {
        return Err(timings_refused());
    }
    let run = match args.runs.as_slice() {
        [] => record::LATEST,
        [run] => run.as_str(),
        _ => {
            let why = "only --features renders several runs together; name one run, or add --features";
            return Err(Failure::usage(why));
        }
    };
    let stored = record::open(&context.dirs, run).map_err(|error| refuse(&error))?;
    let destination = destination(args.output.as_deref());
    let verbosity = match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, true) => Verbosity::Verbose,
        (false, false) => Verbosity::Normal,
    };
    let style = Style::decide_again(&Facts::gather());
    let setup = Setup { style, verbosity, timings: args.timings, record: stored.dir.clone(), screen: Screen::none() };
    let spec = ReportSpec { format, destination };
    note_another(&stored);
    // A human report tells them itself.
    if spec.format != Format::Human || spec.destination != Destination::Stdout {
        output::notes(&stored.notices);
    }
    render(&stored, &spec, &setup)?;
    Ok(exit::OK)
}

/// Where `-o` says; `-` is standard output.
pub(super) fn destination(output: Option<&Path>) -> Destination {
    match output {
        None => Destination::Stdout,
        Some(path) if path.as_os_str() == "-" => Destination::Stdout,
        Some(path) => Destination::File(path.to_owned()),
    }
}

/// Opens the record of a run, and notes what is missing in it.
///
/// # Errors
/// As [`report`].
pub(super) fn open_run(run: &str, context: &Context) -> Result<StoredRun, Failure> {
    let stored = record::open(&context.dirs, run).map_err(|error| refuse(&error))?;
    note_another(&stored);
    output::notes(&stored.notices);
    Ok(stored)
}

/// Says so if this is not the latest run, because its record is gone.
fn note_another(stored: &StoredRun) {
    if let (Some(lost), Some(dir)) = (&stored.instead_of, &stored.dir) {
        let shown = dir.file_name().unwrap_or_default().to_string_lossy();
        output::notes(&[format!("the record of the latest run, {lost}, was removed; this is the run before, {shown}")]);
    }
}

/// A form of the report of a run, or of the table of features.
#[derive(Debug, Clone)]
struct AnyFormat(String);

/// The text names neither a report format nor a form of the table of features.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a report format: choose {}; with --features {}", Format::list(), Form::list())]
struct BadFormat {
    name: String,
}

impl FromStr for AnyFormat {
    type Err = BadFormat;

    fn from_str(name: &str) -> Result<Self, BadFormat> {
        if Form::names().contains(&name) || name.parse::<Format>().is_ok() {
            return Ok(Self(name.to_owned()));
        }
        Err(BadFormat { name: name.to_owned() })
    }
}

impl AnyFormat {
    fn of_run(&self) -> Result<Format, Failure> {
        let refused = |error| Failure::usage(format!("{error}; or add --features, whose table has this form"));
        self.0.parse().map_err(refused)
    }

    fn of_features(&self) -> Result<Form, Failure> {
        self.0.parse().map_err(Failure::usage)
    }
}

/// The failure of a record that cannot be opened.
pub(super) fn refuse(error: &RecordError) -> Failure {
    match error {
        RecordError::NoRuns(_)
        | RecordError::Unknown { .. }
        | RecordError::NoSuchPath(_)
        | RecordError::Ambiguous { .. }
        | RecordError::NotARecord(_) => Failure::usage(error),
        RecordError::Read { .. }
        | RecordError::Events { .. }
        | RecordError::Create { .. }
        | RecordError::Append { .. }
        | RecordError::Lost(_) => Failure::lab(error),
    }
}

/// The error for `--timings` without a human report.
pub(super) fn timings_refused() -> Failure {
    Failure::usage(
        "--timings adds a table to the human report, and no human report was asked for; add --report human, or read the \
         timings from the json report, which always has them",
    )
}

fn render(stored: &StoredRun, spec: &ReportSpec, setup: &Setup) -> Result<(), Failure> {
    let mut reporters = Reporters::open(std::slice::from_ref(spec), setup)?;
    stored.events.iter().for_each(|event| reporters.event(event));
    // The report itself must say that the run was cut off, since its reader may have nothing else.
    let elapsed_ms = stored.events.last().map_or(0, |last| last.elapsed_ms);
    for text in &stored.notices {
        reporters.event(&Stamped { elapsed_ms, event: LabEvent::Notice { text: text.clone() } });
    }
    reporters.finish().map_err(Failure::lab)
}

fn list(context: &Context) -> Result<u8, Failure> {
    let listed = record::list(&context.dirs).map_err(|error| refuse(&error))?;
    if listed.is_empty() {
        return Err(refuse(&RecordError::NoRuns(record::runs_dir(&context.dirs))));
    }
    output::print(&table(&listed)).map(|()| exit::OK)
}

/// One line for each run. A run's name contains its start time in UTC.
fn table(listed: &[Listed]) -> String {
    let targets = |run: &Listed| run.targets.iter().map(TargetId::as_str).collect::<Vec<_>>().join(", ");
    let kernels: Vec<_> = listed.iter().map(|run| clean::line(&targets(run))).collect();
    let width = kernels.iter().map(|text| text.chars().count()).max().unwrap_or(0).max("KERNELS".len());
    let id_width = listed.iter().map(|run| run.id.len()).max().unwrap_or(0);
    let mut out = format!("{:<id_width$}  {:<19}  {:<width$}  RESULT\n", "RUN", "STARTED (UTC)", "KERNELS");
    for (run, kernels) in listed.iter().zip(&kernels) {
        let result = match &run.state {
            Ok(RunState::Running) => "running".to_owned(),
            Ok(RunState::CutOff) => "cut off".to_owned(),
            Ok(RunState::Finished { counts, exit_code }) => {
                format!("{} (exit code {exit_code})", text::counts(counts))
            }
            Err(why) => format!("cannot be read: {}", clean::line(why)),
        };
        out.push_str(&format!("{:<id_width$}  {}  {kernels:<width$}  {result}\n", run.id, started(&run.id)));
    }
    out
}

/// `2026-11-22 11:02:03` from a run's name.
fn started(id: &str) -> String {
    let part = |range| id.get(range).unwrap_or_default();
    format!("{}-{}-{} {}:{}:{}", part(0..4), part(4..6), part(6..8), part(9..11), part(11..13), part(13..15))
}

#[cfg(test)]
mod tests;
