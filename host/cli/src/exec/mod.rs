//! `vmlab exec`: a program of the host's, on one or more kernels.

use std::cell::RefCell;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::rc::Rc;

use tokio_util::sync::CancellationToken;
use vmlab_events::clean;
use vmlab_events::event::{JobReport, LabEvent, Stamped};
use vmlab_events::exit;
use vmlab_events::schedule::Repetition;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::{self, Verdict};
use vmlab_lab::command::FilesPlan;
use vmlab_lab::machine_plan::MachineError;
use vmlab_lab::{Lab, Opened, Plan, RunError, Sink, Summary};
use vmlab_protocol::command::CommandEnd;
use vmlab_report::progress::TerminalProgress;
use vmlab_report::style::Facts;
use vmlab_report::{Destination, ReportSpec, Reporters, Setup};
use vmlab_store::cache::Limit;

pub(crate) use args::{ExecArgs, ShellArgs};

use crate::lab_args::OutputArgs;
use crate::logging::Logging;
use crate::run::sink::{Handle, RunSink};
use crate::{Context, Failure, lab_args};
use connection::{Connections, Mode};
use copies::{Copied, Copies, Division};
use signals::Signals;

mod args;
mod connection;
mod copies;
mod environment;
mod hidden;
mod lookup;
mod machine_args;
mod memory;
mod modules;
mod order;
mod out;
mod outcome;
mod signals;
mod table;
mod terminal;

pub(super) async fn run(args: &ExecArgs, context: &Context, logging: Logging) -> Result<u8, Failure> {
    execute(args, context, logging).await.map_err(|failure| match failure.code {
        exit::INTERRUPTED => failure,
        exit::USAGE if args.bisect => failure.with(outcome::STOP_BISECT),
        // Other codes are the program's.
        _ => failure.with(outcome::NO_RESULT),
    })
}

/// Whether a command line asks for `vmlab exec`.
pub(super) fn is_asked_for(mut words: impl Iterator<Item = OsString>) -> bool {
    words.nth(1).is_some_and(|word| word == "exec")
}

/// The exit code for a command line that is wrong: one that no program has, and `git bisect run` ends with it if it is asked for.
pub(super) fn usage_code(words: impl Iterator<Item = OsString>) -> u8 {
    let mut own = words.take_while(|word| word != "--");
    if own.any(|word| word == "--bisect") { outcome::STOP_BISECT } else { outcome::NO_RESULT }
}

async fn execute(args: &ExecArgs, context: &Context, logging: Logging) -> Result<u8, Failure> {
    let repeats = args.repetition.repetition() != Repetition::Once;
    let several = args.kernels.kernels.len() > 1 || repeats;
    let mode = match (several, args.prefix) {
        (false, _) => Mode::Live,
        (true, false) => Mode::OneAfterTheOther,
        (true, true) => Mode::Prefix,
    };
    let terminal = terminal::size().filter(|_| mode == Mode::Live);
    let order = order::of(args, terminal)?;
    let files = order.command.files.clone();
    let plan =
        lab_args::plan(&args.kernels, &args.guests, &args.repetition, &args.output, args.memory, vec![order.job])?;
    let plan = Plan {
        command: Some(order.command),
        machine: args.machine.plan(),
        debugger: args.machine.debugger(several)?,
        ..plan
    };
    check_reports(&args.output)?;
    let division = match (several, repeats) {
        (false, _) => Division::Whole,
        (true, false) => Division::Kernels,
        (true, true) => Division::Attempts,
    };
    let memory = u64::from(args.memory) << 20;
    let copies = Copies::prepare(order.out, division, memory.saturating_add(plan.machine.disk_bytes()))?;
    let cache_limit = Limit::from_env().map_err(Failure::usage)?;
    let mut signals = Signals::listen()?;
    if args.kernels.setup {
        crate::doctor::set_up(&plan.kernels).await?;
    }
    let verbosity = args.output.verbosity();
    let setup = Setup::for_run(&Facts::gather(), verbosity, args.output.timings);
    // Progress is for the time before the program runs, and belongs on standard error.
    let progress = TerminalProgress::new(&setup.screen, verbosity).if_long();
    let interrupt = CancellationToken::new();
    let connections = Rc::new(Connections::new(mode, copies, terminal.map(|_| interrupt.clone())));
    let reports = Rc::new(RefCell::new(Vec::new()));
    let sink = RunSink::new(context.dirs.clone(), !args.output.no_record, args.output.reports.clone(), setup, logging);
    let run_id = Rc::new(RefCell::new(String::new()));
    let observer = Observer {
        sink: Handle(Rc::clone(&sink)),
        targets: Vec::new(),
        reports: Rc::clone(&reports),
        run_id: Rc::clone(&run_id),
        has_record: !args.output.no_record,
    };
    let lab = Lab::new(context.dirs.clone()).cache_limit(cache_limit).progress(&progress);
    let lab = lab.attach(Rc::clone(&connections) as Rc<_>).interrupt(interrupt.clone());
    let summary = until_done(lab.run(plan, observer), &mut signals, &connections, &interrupt).await?;
    let written = connections.finish();
    let failures = sink.borrow_mut().finish();
    let reports = reports.take();
    if several {
        write!(io::stderr(), "\n{}", table::of(&reports)).unwrap_or_default();
    } else {
        explain(&reports, &args.command, files.as_ref());
    }
    supplement(&reports, &run_id.borrow(), several);
    let is_complete = report_copies(connections.copies(), &reports, several);
    hint(&reports, args.memory, several);
    written.map_err(|error| Failure::lab(format!("cannot write the program's output: {error}")))?;
    if let [_, ..] = failures.as_slice() {
        return Err(Failure::lab(failures.join("; ")));
    }
    if summary.exit_code == exit::INTERRUPTED {
        return Ok(exit::INTERRUPTED);
    }
    let code = if args.bisect { outcome::bisect_code } else { outcome::code };
    let lost = (!is_complete).then_some(outcome::NO_RESULT);
    Ok(outcome::worst(reports.iter().map(|report| code(&report.verdict)).chain(lost)))
}

/// Waits for the copies of files, and says on standard error what is missing. False if the program came to its end and not all of
/// its files were written.
fn report_copies(copies: &Copies, reports: &[JobReport], several: bool) -> bool {
    let mut is_complete = true;
    for (target, copied) in copies.finish() {
        for sentence in copies.sentences(&copied) {
            let text = if several { format!("{target}: {sentence}") } else { sentence };
            // If standard error cannot be written, the exit code remains.
            writeln!(io::stderr(), "vmlab: {}", clean::line(&text)).unwrap_or_default();
        }
        let verdict = reports.iter().find(|report| report.target == target).map(|report| &report.verdict);
        let has_ended = matches!(
            verdict,
            Some(
                Verdict::Passed
                    | Verdict::Failed { reason: verdict::Failure::Command(_) | verdict::Failure::KernelWarned { .. } }
            )
        );
        is_complete &= !has_ended || matches!(copied, Copied::Whole(_));
    }
    is_complete
}

/// A report on standard output would be mixed with what the program writes, and neither could be read.
fn check_reports(output: &OutputArgs) -> Result<(), Failure> {
    if let Some(report) = output.reports.iter().find(|report| report.destination == Destination::Stdout) {
        let format = report.format;
        return Err(Failure::usage(format!(
            "the {format} report would be mixed with the program's output; give it a file, as `--report {format}=FILE`"
        )));
    }
    if output.timings && !ReportSpec::any_human(&output.reports) {
        return Err(Failure::usage(
            "the timings are part of the human report; give it a file, as `--report human=FILE`",
        ));
    }
    Ok(Reporters::check(&output.reports)?)
}

/// So many signals that end a program end the run, whatever the program does.
const ENOUGH: u32 = 3;

/// Passes signals to the command, once it runs.
async fn until_done(
    run: impl Future<Output = Result<Summary, RunError>>,
    signals: &mut Signals,
    connections: &Connections,
    interrupt: &CancellationToken,
) -> Result<Summary, Failure> {
    let mut run = std::pin::pin!(run);
    let mut ends = 0;
    loop {
        tokio::select! {
            summary = &mut run => return summary.map_err(failure_of_run),
            control = signals.next() => {
                let is_running = connections.tell(&control);
                ends += u32::from(signals::ends_a_run(&control));
                if ends > 0 && (!is_running || ends == ENOUGH) {
                    interrupt.cancel();
                }
            }
        }
    }
}

/// An error about a kernel is not an error of the command line: at another commit of a bisection the kernel may be usable.
fn failure_of_run(error: RunError) -> Failure {
    let is_of_kernel = matches!(
        error,
        RunError::Kernel(_)
            | RunError::NoHostFiles { .. }
            | RunError::Image { .. }
            | RunError::Machine(MachineError::NoDriver { .. })
    );
    let failure = Failure::from(error);
    if is_of_kernel && failure.code == exit::USAGE { failure.with(outcome::NO_RESULT) } else { failure }
}

/// Says on standard error what the program could not say.
fn explain(reports: &[JobReport], command: &[OsString], files: Option<&FilesPlan>) {
    let hidden = |report: &JobReport| {
        let not_found = matches!(
            report.verdict,
            Verdict::Failed { reason: verdict::Failure::Command(CommandEnd::NotFound { .. }) }
        );
        command
            .first()
            .zip(files)
            .filter(|_| not_found)
            .and_then(|(program, files)| hidden::explanation(program, files))
    };
    reports
        .iter()
        .filter_map(|report| hidden(report).or_else(|| outcome::explanation(report)))
        .for_each(|text| say(&text));
}

/// Says what the kernel said about a program whose verdict does not tell it, and where to find more about one without a result.
fn supplement(reports: &[JobReport], run_id: &str, several: bool) {
    for report in reports {
        let text = outcome::warned(report);
        match text {
            Some(text) if several => say(&format!("{}: {text}", report.target)),
            Some(text) => say(&text),
            None => {}
        }
    }
    let is_lost = |report: &JobReport| outcome::code(&report.verdict) == outcome::NO_RESULT;
    if !run_id.is_empty() && reports.iter().any(is_lost) {
        say(&format!("`vmlab report {run_id}` shows more, with the guest's console"));
    }
}

/// Says what would have helped the programs, each with its target if there are several.
fn hint(reports: &[JobReport], memory_mib: u32, several: bool) {
    let hints = reports.iter().filter_map(|report| Some((report, memory::hint(report, memory_mib)?)));
    for (report, text) in hints {
        if several { say(&format!("{}: {text}", report.target)) } else { say(&text) }
    }
}

/// If standard error cannot be written, the exit code remains.
fn say(text: &str) {
    let lines: Vec<_> = clean::lines(text).collect();
    writeln!(io::stderr(), "vmlab: {}", lines.join("\n")).unwrap_or_default();
}

/// Keeps the verdicts, beside the record and the reports.
struct Observer {
    sink: Handle,
    /// In the order in which the user named them.
    targets: Vec<TargetId>,
    /// In the order of the targets.
    reports: Rc<RefCell<Vec<JobReport>>>,
    /// Empty without a record.
    run_id: Rc<RefCell<String>>,
    has_record: bool,
}

impl Sink for Observer {
    fn open(&mut self) -> Result<Opened, Box<dyn Error + Send + Sync>> {
        self.sink.open()
    }

    fn take(&mut self, event: &Stamped) {
        match &event.event {
            LabEvent::RunStarted { targets, run_id, .. } => {
                self.targets.clone_from(targets);
                if self.has_record {
                    self.run_id.borrow_mut().clone_from(run_id);
                }
            }
            LabEvent::JobFinished(report) => {
                let mut reports = self.reports.borrow_mut();
                reports.push(JobReport::clone(report));
                reports.sort_by_key(|report| self.targets.iter().position(|target| *target == report.target));
            }
            _ => {}
        }
        self.sink.take(event);
    }
}
