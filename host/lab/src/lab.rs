//! The entry point: [`Lab::run`].

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::LocalBoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::info;
use vmlab_events::event::{Counts, GuestOptions, LabEvent};
use vmlab_events::job::JobSpec;
use vmlab_events::progress::{Progress, Silent};
use vmlab_events::verdict::LackingDrivers;
use vmlab_store::cache::Limit;
use vmlab_store::dirs::Dirs;

use crate::capacity::Capacity;
use crate::command::Attach;
use crate::context::{Options, RunContext};
use crate::dispatch;
use crate::emitter::{Emitter, Opened, Record, Sink};
use crate::error::RunError;
use crate::exit_code;
use crate::laps::Laps;
use crate::plan::{Dump, Plan};
use crate::prepare::{Ready, prepare};
use crate::stop::Stop;
use crate::target::{BootableTarget, Target, ids};

/// The environment of runs: directories, the cache's limit, progress, interruption.
pub struct Lab<'a> {
    dirs: Dirs,
    cache_limit: Limit,
    progress: &'a dyn Progress,
    interrupt: CancellationToken,
    laps: Laps,
    attach: Option<Rc<dyn Attach>>,
}

/// The result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The number of jobs for each class of verdicts.
    pub counts: Counts,
    /// vmlab's exit code ([`vmlab_events::exit`]).
    pub exit_code: u8,
}

impl<'a> Lab<'a> {
    /// A lab with these directories, and without a limit of the cache.
    #[must_use]
    pub fn new(dirs: Dirs) -> Self {
        let (interrupt, laps) = (CancellationToken::new(), Laps::since(Instant::now()));
        Self { dirs, cache_limit: Limit::None, progress: &Silent, interrupt, laps, attach: None }
    }

    /// Sets the limit of the cache's disk space.
    #[must_use]
    pub fn cache_limit(self, cache_limit: Limit) -> Self {
        Self { cache_limit, ..self }
    }

    /// Sets the display of progress until the first guest starts.
    #[must_use]
    pub fn progress(self, progress: &'a dyn Progress) -> Self {
        Self { progress, ..self }
    }

    /// Sets a token that ends a run when it is cancelled. Each job still gets a verdict or NOT-RUN.
    #[must_use]
    pub fn interrupt(self, interrupt: CancellationToken) -> Self {
        Self { interrupt, ..self }
    }

    /// Sets the laps of the program before the run, which become part of the run's timings.
    #[must_use]
    pub fn laps(self, laps: Laps) -> Self {
        Self { laps, ..self }
    }

    /// Sets what connects commands to the user. Without it, their input is empty and only the end of their output is kept.
    #[must_use]
    pub fn attach(self, attach: Rc<dyn Attach>) -> Self {
        Self { attach: Some(attach), ..self }
    }

    /// Runs a plan and passes each event to the sink. Needs a tokio runtime with one thread: child processes are killed
    /// when the thread that started them ends (prctl(2), `PR_SET_PDEATHSIG`).
    ///
    /// # Errors
    /// [`RunError`], only before the first guest is started. Later failures are events.
    pub fn run(self, plan: Plan, sink: impl Sink + 'static) -> LocalBoxFuture<'a, Result<Summary, RunError>> {
        self.run_boxed(plan, Box::new(sink))
    }

    fn run_boxed(self, plan: Plan, sink: Box<dyn Sink>) -> LocalBoxFuture<'a, Result<Summary, RunError>> {
        Box::pin(self.run_plan(plan, sink))
    }

    async fn run_plan(mut self, plan: Plan, mut sink: Box<dyn Sink>) -> Result<Summary, RunError> {
        let ready = tokio::select! {
            ready = prepare(&plan, &self.dirs, self.cache_limit, self.progress, &mut self.laps) => ready?,
            () = self.interrupt.cancelled() => return Err(RunError::Interrupted),
        };
        let Opened { record, notices } = sink.open().map_err(RunError::Sink)?;
        let dump_dir = dump_dir(&plan.dump, record.as_ref())?;
        let Capacity { guests, notice } = Capacity::of(&plan);
        let context = Rc::new(self.context(&plan, &ready, guests, record, dump_dir, sink));
        announce(&context, &ready, &plan);
        notices.iter().chain(&ready.notices).chain(&notice).for_each(|text| context.emitter.notice(text));
        self.laps.lap("open");
        self.serve(&context, ready.targets, &ready.jobs, &plan).await;
        self.laps.lap("guests");
        context.emitter.emit(LabEvent::RunTimings { phases: self.laps.finish() });
        let counts = context.emitter.counts();
        let exit_code = exit_code::of(&counts, context.stopped(), plan.repetition);
        context.emitter.emit(LabEvent::RunFinished { counts, exit_code });
        info!(exit_code, "run finished");
        Ok(Summary { counts, exit_code })
    }

    fn context(
        &self,
        plan: &Plan,
        ready: &Ready,
        guests_at_once: usize,
        record: Option<Record>,
        dump_dir: Option<PathBuf>,
        sink: Box<dyn Sink>,
    ) -> RunContext {
        let (run_id, record_dir) = match record {
            Some(Record { run_id, dir }) => (run_id, Some(dir)),
            None => ("not-recorded".to_owned(), None),
        };
        let options = Options {
            isolation: plan.isolation,
            fork_method: plan.fork_method,
            repetition: plan.repetition,
            machines: ready.machines,
            guests_at_once,
            run_id,
            cache_limit: self.cache_limit,
            dump_dir,
        };
        RunContext::new(
            options,
            ready.qemu.clone(),
            Emitter::new(sink),
            self.dirs.cache.clone(),
            record_dir,
            self.attach.clone(),
        )
    }

    /// Runs all guests. An interrupt or the run's limit ends them in order.
    async fn serve(&self, context: &Rc<RunContext>, targets: Vec<BootableTarget>, jobs: &[JobSpec], plan: &Plan) {
        let mut running = std::pin::pin!(dispatch::run(context, targets, jobs));
        let passed = async {
            match plan.run_limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut running => return,
            () = self.interrupt.cancelled() => {
                context.emitter.emit(LabEvent::Interrupted);
                context.stop(Stop::Interrupted);
            }
            () = passed => context.stop(Stop::RunLimit(plan.run_limit.unwrap_or_default())),
        }
        running.await;
    }
}

/// The directory for the memory of lost guests; None to discard it.
fn dump_dir(dump: &Dump, record: Option<&Record>) -> Result<Option<PathBuf>, RunError> {
    let dir: &Path = match (dump, record) {
        (Dump::No, _) => return Ok(None),
        (Dump::In(dir), _) => dir,
        (Dump::InRecord, Some(record)) => &record.dir,
        (Dump::InRecord, None) => return Err(RunError::NoDumpDir),
    };
    let made = fs::create_dir_all(dir).and_then(|()| fs::canonicalize(dir));
    made.map(Some).map_err(|source| RunError::DumpDir { dir: dir.to_owned(), source })
}

fn announce(context: &RunContext, ready: &Ready, plan: &Plan) {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    context.emitter.emit(LabEvent::RunStarted {
        format: vmlab_events::event::FORMAT,
        run_id: context.options.run_id.clone(),
        vmlab_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        argv: plan.argv.clone(),
        guests: GuestOptions {
            cpus: plan.cpus,
            memory_mib: plan.memory_mib,
            append: plan.append.as_deref().map(str::to_owned),
        },
        targets: ids(&ready.targets),
        jobs: ready.jobs.clone(),
        isolation: plan.isolation.name().to_owned(),
        repetition: plan.repetition,
    });
    context.emitter.notice(ready.accelerator.to_string());
    let of_targets = ready.targets.chunk_by(|a, b| a.target.id == b.target.id).filter_map(<[_]>::first);
    of_targets.for_each(|bootable| announce_target(context, bootable));
}

fn announce_target(context: &RunContext, bootable: &BootableTarget) {
    let BootableTarget { target, image, .. } = bootable;
    let Target { id, kernel, lacking, .. } = &**target;
    context.emitter.emit(LabEvent::KernelReady {
        target: id.clone(),
        release: kernel.release.clone(),
        kernel_sha256: kernel.sha256.clone(),
        config_sha256: kernel.config.as_ref().map(|config| config.sha256.clone()),
        image_sha256: image.sha256.clone(),
        image_bytes: image.size_bytes,
    });
    kernel.notices.iter().for_each(|text| context.emitter.notice(text));
    // Where the modules were not found, the kernel's notices say so.
    if let Some(lacking @ LackingDrivers::Modules { .. }) = lacking {
        context.emitter.notice(format!("{id}: {lacking}"));
    }
}
