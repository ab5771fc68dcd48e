//! `vmlab run`: the scenarios, on one or more kernels.

use std::cell::RefCell;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vmlab_protocol::catalogue::ScenarioSpec;

pub use args::RunArgs;
pub(super) use args::{AccelArg, IsolationArg};

use super::interrupt::Interrupts;
use super::{Context, Failure};
use prepare::Ready;
use sink::{Handle, RunSink};
use vmlab_events::error::chain;
use vmlab_events::event::LabEvent;
use vmlab_events::exit;
use vmlab_events::job::JobSpec;
use vmlab_image::guest_init;
use vmlab_lab::emitter::Emitter;
use vmlab_lab::lab::{Lab, Options, Prepared, Stop};
use vmlab_lab::phases::Laps;
use vmlab_lab::plan;
use vmlab_lab::{dispatcher, exit_code};
use vmlab_report::progress::TerminalProgress;
use vmlab_report::style::{Facts, Verbosity};
use vmlab_report::{ReportSpec, Reporters, Setup};
use vmlab_store::cache::Limit;
use vmlab_store::record::RunRecord;

mod args;
mod prepare;
mod sink;

pub(super) async fn run(args: &RunArgs, context: &Context) -> Result<u8, Failure> {
    let mut laps = Laps::since(Instant::now());
    // What can be told without touching anything is told first.
    let catalogue = guest_init::catalogue().map_err(|error| Failure::lab(chain(&error)))?;
    let faults = match &args.faults {
        None => &[],
        Some(_) => guest_init::faults().map_err(|error| Failure::lab(chain(&error)))?,
    };
    let scenarios = plan::select(&[catalogue, faults].concat(), &args.filters)
        .map_err(|error| Failure::with_code(exit::NOTHING_RAN, error))?;
    let reports = ReportSpec::with_default(&args.reports);
    if args.timings && !ReportSpec::any_human(&reports) {
        return Err(super::report::timings_refused());
    }
    Reporters::check(&reports)?;
    let cache_limit = Limit::from_env().map_err(Failure::usage)?;
    let mut interrupts = Interrupts::listen()?;
    let verbosity = match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, true) => Verbosity::Verbose,
        (false, false) => Verbosity::Normal,
    };
    let setup = Setup::for_run(&Facts::gather(), verbosity, args.timings);
    let progress = TerminalProgress::new(&setup.screen, verbosity);
    laps.lap("plan");
    if args.setup {
        interrupts.or_interrupt(crate::doctor::set_up()).await?;
        laps.lap("setup");
    }
    let ready = interrupts.or_interrupt(prepare::prepare(args, context, cache_limit, &progress, &mut laps)).await?;
    drop(progress);
    let Opened { lab, sink, notices } = open(args, context, &ready, &reports, cache_limit, setup)?;
    announce(&lab, &ready, &scenarios);
    notices.iter().chain(&ready.notices).for_each(|text| lab.emitter.notice(text));
    laps.lap("open");
    let limit = args.timeout.map(|seconds| Duration::from_secs(u64::from(seconds)));
    serve(&lab, dispatcher::run(&lab, ready.kernels, &scenarios), limit, &mut interrupts).await;
    laps.lap("guests");
    finish(&lab, &sink, laps)
}

/// What a run writes to.
struct Opened {
    lab: Rc<Lab>,
    sink: Rc<RefCell<RunSink>>,
    /// About the record, for the user.
    notices: Vec<String>,
}

/// The record and the reports are open before anything runs: what cannot be written is known at once.
fn open(
    args: &RunArgs,
    context: &Context,
    ready: &Ready,
    reports: &[ReportSpec],
    cache_limit: Limit,
    setup: Setup,
) -> Result<Opened, Failure> {
    let record = if args.no_record {
        None
    } else {
        let created = RunRecord::create(&context.dirs, SystemTime::now());
        Some(created.map_err(|error| Failure::lab(format!("{}, or give --no-record", chain(&error))))?)
    };
    let record_dir = record.as_ref().map(|record| record.dir.clone());
    let notices = record.as_ref().map(|record| record.notices.clone()).unwrap_or_default();
    let run_id = record.as_ref().map_or_else(|| "not-recorded".to_owned(), |record| record.id.clone());
    let setup = Setup { record: record_dir.clone(), ..setup };
    let reporters = Reporters::open(reports, &setup)?;
    let sink = RunSink::new(record, reporters);
    let emitter = Emitter::new(Box::new(Handle(Rc::clone(&sink))));
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let at_once = usize::try_from(args.cpus).map_or(1, |cpus| (processors / cpus).max(1));
    let options = Options {
        isolation: args.isolation.into(),
        repetition: args.repetition(),
        append: args.append.clone(),
        guests_at_once: args.jobs.map_or(at_once, usize::from),
        run_id,
        cache_limit,
        dump_dir: dump_dir(args, record_dir.as_deref())?,
    };
    let lab = Rc::new(Lab::new(options, ready.qemu.clone(), emitter, context.dirs.cache.clone(), record_dir));
    Ok(Opened { lab, sink, notices })
}

/// Where guests' memories go; None where they are not kept.
fn dump_dir(args: &RunArgs, record: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let dir = match (&args.dump, record) {
        (None, _) => return Ok(None),
        (Some(Some(dir)), _) => dir,
        (Some(None), Some(record)) => record,
        (Some(None), None) => {
            return Err(Failure::usage(
                "--dump has no directory and --no-record no record to use; name one: --dump=DIR",
            ));
        }
    };
    let made = std::fs::create_dir_all(dir).and_then(|()| std::fs::canonicalize(dir));
    let failed = |error| format!("cannot use {} for --dump: {error}; name another directory", dir.display());
    made.map(Some).map_err(|error| Failure::usage(failed(error)))
}

fn announce(lab: &Lab, ready: &Ready, scenarios: &[ScenarioSpec]) {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    lab.emitter.emit(LabEvent::RunStarted {
        format: vmlab_events::event::FORMAT,
        run_id: lab.options.run_id.clone(),
        vmlab_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        argv: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        targets: ready.kernels.iter().map(|prepared| prepared.target.clone()).collect(),
        jobs: scenarios.iter().cloned().map(JobSpec::Scenario).collect(),
        isolation: lab.options.isolation.name().to_owned(),
        repetition: lab.options.repetition,
    });
    lab.emitter.notice(ready.accelerator.to_string());
    ready.kernels.iter().for_each(|prepared| announce_kernel(lab, prepared));
}

fn announce_kernel(lab: &Lab, prepared: &Prepared) {
    let Prepared { kernel, image, .. } = prepared;
    lab.emitter.emit(LabEvent::KernelReady {
        target: prepared.target.clone(),
        release: kernel.release.clone(),
        kernel_sha256: kernel.sha256.clone(),
        config_sha256: kernel.config.as_ref().map(|config| config.sha256.clone()),
        image_sha256: image.sha256.clone(),
        image_bytes: image.size_bytes,
    });
    kernel.notices.iter().for_each(|text| lab.emitter.notice(text));
    if !image.absent.is_empty() {
        let absent = image.absent.join(" and ");
        let label = &kernel.label;
        lab.emitter.notice(format!("{label} has {absent} neither built in nor as a module: expect no word from it"));
    }
}

/// Lets the guests run until they are done. The first signal and the limit end them in order.
async fn serve(lab: &Lab, running: impl Future<Output = ()>, limit: Option<Duration>, interrupts: &mut Interrupts) {
    let mut running = std::pin::pin!(running);
    let passed = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = &mut running => return,
        () = interrupts.next() => {
            lab.emitter.emit(LabEvent::Interrupted);
            lab.stop(Stop::Interrupted);
        }
        () = passed => lab.stop(Stop::RunLimit(limit.unwrap_or_default())),
    }
    // A second signal ends the process at once, see [`Interrupts`], and every QEMU with it.
    running.await;
}

fn finish(lab: &Lab, sink: &RefCell<RunSink>, laps: Laps) -> Result<u8, Failure> {
    lab.emitter.emit(LabEvent::RunTimings { phases: laps.finish() });
    let counts = lab.emitter.counts();
    let exit_code = exit_code::of(&counts, lab.stopped(), lab.options.repetition);
    lab.emitter.emit(LabEvent::RunFinished { counts, exit_code });
    let failures = sink.borrow_mut().finish();
    if failures.is_empty() {
        return Ok(exit_code);
    }
    // A result that could not be handed over is no success, and no success may hide a graver result.
    let code = if exit_code == exit::OK { exit::LAB } else { exit_code };
    Err(Failure::with_code(code, failures.join("; ")))
}
