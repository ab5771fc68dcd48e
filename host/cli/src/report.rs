//! `vmlab report`: renders a run again from its record, in any format.

use std::path::PathBuf;

use clap::builder::{StringValueParser, TypedValueParser as _};
use clap::{Args, ValueHint};

use super::suggest::{formats, suggest};
use super::{Context, Failure, output};
use vmlab_events::event::{LabEvent, Stamped};
use vmlab_events::exit;
use vmlab_events::target::TargetId;
use vmlab_events::{clean, text};
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

Exit codes (they say whether the report was rendered, not how the run ended):
  0  the report was rendered
  2  there is no such run, or the output file cannot be made
 69  the record is damaged, or the report could not be written";

/// Render a finished run again, in any format
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    /// Run to render: `latest`, a run's name or the beginning of one, or a path
    #[arg(value_name = "RUN", default_value = record::LATEST)]
    run: String,

    // The table of formats gives their names and descriptions.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "human",
        value_parser = suggest(StringValueParser::new().try_map(|name| name.parse::<Format>()), formats),
        hide_possible_values = true,
        conflicts_with = "list",
        help = format!("The form of the report: {}", Format::list()),
        long_help = format!("The form of the report:\n{}", Format::described())
    )]
    format: Format,

    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE", conflicts_with = "list", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// List the runs that have a record, newest first
    #[arg(long, conflicts_with = "run")]
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
    if args.timings && args.format != Format::Human {
        return Err(timings_refused());
    }
    let stored = record::open(&context.dirs, &args.run).map_err(|error| refuse(&error))?;
    let destination = match &args.output {
        None => Destination::Stdout,
        Some(path) if path.as_os_str() == "-" => Destination::Stdout,
        Some(path) => Destination::File(path.clone()),
    };
    let verbosity = match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, true) => Verbosity::Verbose,
        (false, false) => Verbosity::Normal,
    };
    let style = Style::decide_again(&Facts::gather());
    let setup = Setup { style, verbosity, timings: args.timings, record: stored.dir.clone(), screen: Screen::none() };
    let spec = ReportSpec { format: args.format, destination };
    if let (Some(lost), Some(dir)) = (&stored.instead_of, &stored.dir) {
        let shown = dir.file_name().unwrap_or_default().to_string_lossy();
        output::notes(&[format!("the record of the latest run, {lost}, was removed; this is the run before, {shown}")]);
    }
    // A human report tells them itself.
    if spec.format != Format::Human || spec.destination != Destination::Stdout {
        output::notes(&stored.notices);
    }
    render(&stored, &spec, &setup)?;
    Ok(exit::OK)
}

fn refuse(error: &RecordError) -> Failure {
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
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use clap::Parser;
    use tempfile::TempDir;

    use super::*;
    use vmlab_events::fixture;
    use vmlab_report::FORMATS;
    use vmlab_store::dirs::Dirs;
    use vmlab_store::record::RunRecord;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: ReportArgs,
    }

    fn context(home: &TempDir) -> Context {
        Context { dirs: Dirs { cache: home.path().join("cache"), state: home.path().join("state") } }
    }

    fn vmlab_report(context: &Context, args: &[&str]) -> Result<u8, Failure> {
        let args = Command::try_parse_from([&["report"], args].concat()).unwrap().args;
        report(&args, context)
    }

    /// Plays the fixture into a record and into one report of each format, `live.FORMAT` in the home directory.
    fn run(context: &Context, home: &TempDir) -> RunRecord {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_345_323);
        let mut record = RunRecord::create(&context.dirs, now).unwrap();
        let specs = FORMATS.map(|row| {
            let format = row.name.parse().unwrap();
            ReportSpec { format, destination: Destination::File(home.path().join(format!("live.{format}"))) }
        });
        let setup = Setup { record: Some(record.dir.clone()), ..Setup::default() };
        let mut reporters = Reporters::open(&specs, &setup).unwrap();
        for event in fixture::run() {
            record.append(&event).unwrap();
            reporters.event(&event);
        }
        reporters.finish().unwrap();
        record
    }

    #[test]
    fn every_format_is_the_same_again_to_the_byte() {
        let home = TempDir::new().unwrap();
        let context = context(&home);
        let id = run(&context, &home).id;
        for format in FORMATS.map(|row| row.name.parse::<Format>().unwrap()) {
            for name in ["latest", id.as_str()] {
                let again = home.path().join("again");
                let args = [name, "--format", format.name(), "--output", again.to_str().unwrap()];
                assert_eq!(vmlab_report(&context, &args).unwrap(), exit::OK);
                let live = fs::read(home.path().join(format!("live.{format}"))).unwrap();
                assert!(live.len() > 1000, "{format}");
                assert_eq!(fs::read(&again).unwrap(), live, "{format}");
            }
        }
    }

    #[test]
    fn a_json_report_is_as_good_as_the_record() {
        let home = TempDir::new().unwrap();
        let context = context(&home);
        run(&context, &home);
        let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        vmlab_report(&context, &[&path("live.json"), "--format", "junit", "-o", &path("again")]).unwrap();
        assert_eq!(fs::read(path("again")).unwrap(), fs::read(path("live.junit")).unwrap());
    }

    #[test]
    fn exit_codes_tell_whether_it_could_be_rendered() {
        let home = TempDir::new().unwrap();
        let context = context(&home);
        let code = |args: &[&str]| vmlab_report(&context, args).unwrap_err().code;
        assert_eq!(code(&[]), exit::USAGE);
        assert_eq!(code(&["--list"]), exit::USAGE);
        let record = run(&context, &home);
        assert_eq!(code(&["1999"]), exit::USAGE);
        assert_eq!(code(&["./no/such/place"]), exit::USAGE);
        assert_eq!(code(&[home.path().to_str().unwrap()]), exit::USAGE);
        assert_eq!(code(&["-o", "/proc/none/x"]), exit::USAGE);
        assert_eq!(code(&["-o", "/dev/full"]), exit::LAB);
        let path = record.dir.join(record::EVENTS);
        let events = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = events.lines().collect();
        let mut backwards = lines.clone();
        backwards.reverse();
        for damaged in [
            vec!["xx", "yy"],
            [lines.clone(), lines.clone()].concat(),
            backwards,
            [&lines[..12], &lines[20..]].concat(),
        ] {
            fs::write(&path, damaged.join("\n")).unwrap();
            assert_eq!(code(&[]), exit::LAB, "{damaged:?}");
        }
        fs::write(&path, &events[..events.len() / 2]).unwrap();
        assert_eq!(vmlab_report(&context, &["-o", "/dev/null"]).unwrap(), exit::OK);
    }

    #[test]
    fn a_run_that_was_cut_off_says_so_in_every_format() {
        let home = TempDir::new().unwrap();
        let context = context(&home);
        let record = run(&context, &home);
        let path = record.dir.join(record::EVENTS);
        let events = fs::read_to_string(&path).unwrap();
        // Every scenario has its final verdict, and the end of the run is missing.
        let (rest, last) = events.trim_end().rsplit_once('\n').unwrap();
        assert!(last.contains("run_finished"), "{last}");
        fs::write(&path, format!("{rest}\n")).unwrap();
        drop(record);
        for format in FORMATS.map(|row| row.name.parse::<Format>().unwrap()) {
            let again = home.path().join("again");
            let args = ["--format", format.name(), "--output", again.to_str().unwrap()];
            assert_eq!(vmlab_report(&context, &args).unwrap(), exit::OK);
            let text = fs::read_to_string(&again).unwrap();
            assert!(text.contains("the run was cut off: vmlab ended"), "{format}: {text}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_hides_no_other() {
        let home = TempDir::new().unwrap();
        let context = context(&home);
        let record = run(&context, &home);
        let bad = record::runs_dir(&context.dirs).join("20261122-110203-0000");
        fs::create_dir_all(bad.join(record::EVENTS)).unwrap();
        let listed = record::list(&context.dirs).unwrap();
        assert_eq!(listed.len(), 2);
        let of = |id: &str| listed.iter().find(|run| run.id == id).unwrap();
        assert!(of(&record.id).state.is_ok());
        assert!(of("20261122-110203-0000").state.is_err());
        let path = record.dir.join(record::EVENTS);
        let whole = fs::read_to_string(&path).unwrap();
        for (events, damaged) in [
            ("", false),
            (&whole[..whole.len() / 2], false),
            ("rubbish\n", true),
            (&whole.replace("run_started", "xx"), true),
            (&format!("{whole}rubbish\n"), true),
        ] {
            fs::write(&path, events).unwrap();
            let listed = record::list(&context.dirs).unwrap();
            let state = &listed.iter().find(|run| run.id == record.id).unwrap().state;
            assert_eq!(state.is_err(), damaged, "{state:?}");
        }
    }

    #[test]
    fn the_list_is_a_table() {
        let listed = |id: &str, kernels: &[&str], state| Listed {
            id: id.to_owned(),
            dir: PathBuf::new(),
            targets: kernels.iter().map(|label| TargetId::new(*label)).collect(),
            jobs: 6,
            state,
        };
        let finished = RunState::Finished { counts: fixture::counts(), exit_code: 3 };
        insta::assert_snapshot!(table(&[
            listed("20261122-110204-0001", &["debian:trixie"], Ok(RunState::Running)),
            listed("20261122-110203-4f2a", &["debian:bookworm", "debian:\x1btrixie"], Ok(finished)),
            listed("20261121-000000-00ff", &[], Ok(RunState::CutOff)),
            listed("20261120-000000-00fe", &[], Err("it is a directory".to_owned())),
        ]));
    }

    #[test]
    fn timings_are_rendered_from_the_record_and_only_for_people() {
        let home = TempDir::new().unwrap();
        let context = context(&home);
        run(&context, &home);
        let again = home.path().join("again");
        let to = ["--timings", "-o", again.to_str().unwrap()];
        assert_eq!(vmlab_report(&context, &to).unwrap(), exit::OK);
        let text = fs::read_to_string(&again).unwrap();
        assert!(text.contains("\nfork\n  spawn ") && text.contains("\nrun\n  plan "), "{text}");
        let refused = vmlab_report(&context, &[&to[..], &["--format", "ktap"]].concat()).unwrap_err();
        assert_eq!(refused.code, exit::USAGE);
    }

    #[test]
    fn arguments_that_do_not_go_together_are_refused() {
        for args in [&["--list", "latest"][..], &["--list", "--format", "json"], &["-v", "-q"], &["--format", "xml"]] {
            assert!(Command::try_parse_from([&["report"], args].concat()).is_err(), "{args:?}");
        }
    }
}
