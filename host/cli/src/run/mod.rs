//! `vmlab run`: the scenarios, on one or more kernels.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use vmlab_events::error::chain;
use vmlab_events::exit;
use vmlab_events::job::JobSpec;
use vmlab_image::guest_init;
use vmlab_lab::laps::Laps;
use vmlab_lab::{Lab, Plan, RunError, Summary, limits, select};
use vmlab_report::progress::TerminalProgress;
use vmlab_report::screen::Screen;
use vmlab_report::style::Facts;
use vmlab_report::{ReportSpec, Reporters, Setup};
use vmlab_store::cache::Limit;

pub(crate) use args::RunArgs;

use super::interrupt::Interrupts;
use super::logging::Logging;
use super::{Context, Failure, lab_args};
use sink::{Handle, RunSink};

mod args;
mod dry_run;
pub(super) mod sink;

pub(super) async fn run(args: &RunArgs, context: &Context, logging: Logging) -> Result<u8, Failure> {
    let mut laps = Laps::since(Instant::now());
    // What can be checked without touching anything is checked first.
    let plan = plan(args)?;
    let reports = ReportSpec::with_default(&args.output.reports);
    if args.output.timings && !ReportSpec::any_human(&reports) {
        return Err(super::report::timings_refused());
    }
    Reporters::check(&reports)?;
    let cache_limit = Limit::from_env().map_err(Failure::usage)?;
    let mut interrupts = Interrupts::listen()?;
    if args.dry_run {
        return interrupts.or_interrupt(dry_run::show(&plan, &reports, !args.output.no_record, &context.dirs)).await;
    }
    let verbosity = args.output.verbosity();
    let mut setup = Setup::for_run(&Facts::gather(), verbosity, args.output.timings);
    if logging.is_on_stderr() {
        // Log lines would tear live lines.
        setup.screen = Screen::none();
        setup.style.live = false;
    }
    let progress = TerminalProgress::new(&setup.screen, verbosity).if_long();
    laps.lap("plan");
    if args.kernels.setup {
        interrupts.or_interrupt(crate::doctor::set_up(&plan.kernels)).await?;
        laps.lap("setup");
    }
    let sink = RunSink::new(context.dirs.clone(), !args.output.no_record, reports, setup, logging);
    let interrupt = CancellationToken::new();
    let lab = Lab::new(context.dirs.clone()).cache_limit(cache_limit).progress(&progress).laps(laps);
    let run = lab.interrupt(interrupt.clone()).run(plan, Handle(Rc::clone(&sink)));
    let summary = until_done(run, &interrupt, &mut interrupts).await?;
    finish(summary, &sink)
}

/// A signal ends the run in order. The second one ends the process at once, see [`Interrupts`], and every QEMU with it.
async fn until_done(
    run: impl Future<Output = Result<Summary, RunError>>,
    interrupt: &CancellationToken,
    interrupts: &mut Interrupts,
) -> Result<Summary, Failure> {
    let mut run = std::pin::pin!(run);
    loop {
        tokio::select! {
            summary = &mut run => return summary.map_err(Failure::from),
            () = interrupts.next(), if !interrupt.is_cancelled() => interrupt.cancel(),
        }
    }
}

fn plan(args: &RunArgs) -> Result<Plan, Failure> {
    let catalogue = if args.measure { guest_init::measures() } else { guest_init::catalogue() };
    let catalogue = catalogue.map_err(|error| Failure::lab(chain(&error)))?;
    let faults = match &args.faults {
        None => &[],
        Some(_) => guest_init::faults().map_err(|error| Failure::lab(chain(&error)))?,
    };
    let catalogue = [catalogue, faults].concat();
    let (scenarios, suites) = if args.kunit {
        let (scenarios, suites) = select::Suites::beside(&catalogue, &args.filters);
        (scenarios, Some(suites))
    } else {
        (select::select(&catalogue, &args.filters).map_err(|error| Failure::with_code(exit::NOTHING_RAN, error))?, None)
    };
    let jobs = scenarios.into_iter().map(JobSpec::from).collect();
    let plan = lab_args::plan(&args.kernels, &args.guests, &args.repetition, &args.output, args.memory, jobs)?;
    Ok(Plan {
        suites,
        limits: limits::Wanted {
            scenario: lab_args::seconds(args.scenario_timeout),
            silence: lab_args::seconds(args.silence_timeout),
            ..plan.limits
        },
        run_limit: lab_args::seconds(args.timeout),
        extra_modules: args.faults.as_deref().map(modules_in).transpose()?.unwrap_or_default(),
        ..plan
    })
}

/// The modules of the fault suite, which has made them for the one kernel that it runs on.
fn modules_in(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let read = || -> std::io::Result<_> {
        let mut modules = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
                modules.insert(name.to_owned(), fs::read(&path)?);
            }
        }
        Ok(modules)
    };
    read().map_err(|error| Failure::usage(format!("cannot read the modules in {}: {error}", dir.display())))
}

fn finish(summary: Summary, sink: &RefCell<RunSink>) -> Result<u8, Failure> {
    let failures = sink.borrow_mut().finish();
    if failures.is_empty() {
        return Ok(summary.exit_code);
    }
    // A result that could not be delivered is no success, and it does not hide a graver result.
    let code = if summary.exit_code == exit::OK { exit::LAB } else { summary.exit_code };
    Err(Failure::with_code(code, failures.join("; ")))
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Interrupted => Self::interrupted(),
            RunError::Suites(_) => Self::with_code(exit::NOTHING_RAN, error),
            RunError::Sink(error) => match error.downcast::<Self>() {
                Ok(failure) => *failure,
                Err(error) => Self::lab(error),
            },
            error if error.is_usage() => Self::usage(chain(&error)),
            error => Self::lab(chain(&error)),
        }
    }
}
