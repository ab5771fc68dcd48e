//! The state that all guests of a run share.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::attempts::{AttemptEnd, AttemptTracker};
use super::command::Attach;
use super::emitter::Emitter;
use super::stop::Stop;
use super::variant::Machines;
use vmlab_events::event::JobReport;
use vmlab_events::schedule::{ForkMethod, Isolation, Repetition};
use vmlab_qemu::qemu::Qemu;
use vmlab_store::cache::Limit;

/// The user's options, validated.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The isolation of jobs from each other.
    pub isolation: Isolation,
    /// How forks start.
    pub fork_method: ForkMethod,
    /// The repetition of each job.
    pub repetition: Repetition,
    /// The machines of the guests.
    pub machines: Machines,
    /// The maximum number of guests that run at the same time.
    pub guests_at_once: usize,
    /// The run's id.
    pub run_id: String,
    /// The limit of the cache's disk space.
    pub cache_limit: Limit,
    /// The directory for the memory of lost guests; None to discard it.
    pub dump_dir: Option<PathBuf>,
}

/// The maximum number of memory dumps of a run. Each is as large as the guest's memory, and a kernel that always
/// crashes would fill the disk.
const DUMPS: u32 = 8;

/// What all guests of a run share.
pub(crate) struct RunContext {
    pub(crate) options: Options,
    pub(crate) qemu: Qemu,
    pub(crate) emitter: Emitter,
    /// vmlab's cache directory, for templates.
    pub(crate) cache: PathBuf,
    /// The directory of the run's record, for consoles; None without a record.
    pub(crate) record_dir: Option<PathBuf>,
    /// One permit for each guest that may run at the same time.
    pub(crate) slots: Semaphore,
    pub(crate) cancel: CancellationToken,
    pub(crate) attempts: AttemptTracker,
    /// Connects commands to the user; None drops their output.
    pub(crate) attach: Option<Rc<dyn Attach>>,
    stop: Cell<Option<Stop>>,
    guests: Cell<u32>,
    dumps: Cell<u32>,
    over_limit: Cell<bool>,
    console_failed: Cell<bool>,
    read_only_cache: Cell<bool>,
}

impl RunContext {
    /// The context of a run without guests.
    pub(crate) fn new(
        options: Options,
        qemu: Qemu,
        emitter: Emitter,
        cache: PathBuf,
        record_dir: Option<PathBuf>,
        attach: Option<Rc<dyn Attach>>,
    ) -> Self {
        let slots = Semaphore::new(options.guests_at_once);
        let attempts = AttemptTracker::new(options.repetition);
        let (cancel, stop) = (CancellationToken::new(), Cell::new(None));
        let (guests, dumps) = (Cell::new(0), Cell::new(0));
        let (over_limit, console_failed, read_only_cache) = (Cell::new(false), Cell::new(false), Cell::new(false));
        Self {
            options,
            qemu,
            emitter,
            cache,
            record_dir,
            slots,
            cancel,
            attempts,
            attach,
            stop,
            guests,
            dumps,
            over_limit,
            console_failed,
            read_only_cache,
        }
    }

    /// Whether to report that the cache is over its limit: true once in a run.
    pub(crate) fn reports_limit(&self) -> bool {
        !self.over_limit.replace(true)
    }

    /// Whether to report that a console cannot be recorded: true once in a run, because the next ones fail as well.
    pub(crate) fn reports_console(&self) -> bool {
        !self.console_failed.replace(true)
    }

    /// Whether to report that the cache cannot be written to: true once in a run.
    pub(crate) fn reports_read_only_cache(&self) -> bool {
        !self.read_only_cache.replace(true)
    }

    /// Ends the run: running guests are killed, and no more jobs start. The first reason counts.
    pub(crate) fn stop(&self, why: Stop) {
        if self.stop.get().is_none() {
            self.stop.set(Some(why));
            self.cancel.cancel();
        }
    }

    /// The reason why the run ends early, if it does.
    pub(crate) const fn stopped(&self) -> Option<Stop> {
        self.stop.get()
    }

    /// Reports the end of an attempt at a job.
    pub(crate) fn attempt_ended(&self, report: JobReport, end: AttemptEnd) {
        let events = self.attempts.take(report, end, self.stopped().is_some());
        events.into_iter().for_each(|event| self.emitter.emit(event));
    }

    /// Takes one of the run's memory dumps. None if dumps are off or the maximum is reached.
    pub(crate) fn take_dump(&self) -> Option<&PathBuf> {
        let dir = self.options.dump_dir.as_ref()?;
        self.dumps.set(self.dumps.get() + 1);
        if self.dumps.get() == DUMPS + 1 {
            self.emitter.notice(format!("the memory of {DUMPS} guests is saved; vmlab saves no more in this run"));
        }
        (self.dumps.get() <= DUMPS).then_some(dir)
    }

    /// Emits a notice without its cause, which can be long, such as QEMU's own text. The cause goes to the log.
    pub(crate) fn notice_with_logged_cause(&self, text: &str, cause: &str) {
        info!(cause, "{text}");
        let place = if self.record_dir.is_some() { "vmlab.log has the cause" } else { "-v shows the cause" };
        self.emitter.notice(format!("{text} ({place})"));
    }

    pub(crate) fn next_guest(&self) -> u32 {
        let number = self.guests.get() + 1;
        self.guests.set(number);
        number
    }
}
