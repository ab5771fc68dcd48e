//! What all guests of a run share.

use std::cell::Cell;
use std::path::PathBuf;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::attempts::{AttemptEnd, AttemptTracker};
use super::emitter::Emitter;
use crate::stop::Stop;
use vmlab_events::event::JobReport;
use vmlab_events::schedule::{Isolation, Repetition};
use vmlab_qemu::qemu::Qemu;
use vmlab_store::cache::Limit;

/// What the user asked for, validated.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How scenarios are kept apart.
    pub isolation: Isolation,
    /// How often each scenario runs.
    pub repetition: Repetition,
    /// More words for the kernels' command line.
    pub append: Option<String>,
    /// How many guests may run at the same time.
    pub guests_at_once: usize,
    /// The run's name.
    pub run_id: String,
    /// How much the cache may take on the disk.
    pub cache_limit: Limit,
    /// Where the memory of guests that were lost is kept; None where it is not.
    pub dump_dir: Option<PathBuf>,
}

/// How many guests' memories a run keeps: each is as large as the guest's memory, and a kernel that always crashes would
/// fill the disk.
const DUMPS: u32 = 8;

/// What all guests of a run share.
pub(crate) struct RunContext {
    pub(crate) options: Options,
    pub(crate) qemu: Qemu,
    pub(crate) emitter: Emitter,
    /// vmlab's cache directory, for templates.
    pub(crate) cache: PathBuf,
    /// Where consoles are kept; None where no record is.
    pub(crate) record_dir: Option<PathBuf>,
    /// One for each guest that may run at the same time.
    pub(crate) slots: Semaphore,
    pub(crate) cancel: CancellationToken,
    pub(crate) attempts: AttemptTracker,
    stop: Cell<Option<Stop>>,
    guests: Cell<u32>,
    dumps: Cell<u32>,
    over_limit: Cell<bool>,
}

impl RunContext {
    /// A run in which no guest runs yet.
    pub(crate) fn new(
        options: Options,
        qemu: Qemu,
        emitter: Emitter,
        cache: PathBuf,
        record_dir: Option<PathBuf>,
    ) -> Self {
        let slots = Semaphore::new(options.guests_at_once);
        let attempts = AttemptTracker::new(options.repetition);
        let (cancel, stop) = (CancellationToken::new(), Cell::new(None));
        let (guests, dumps, over_limit) = (Cell::new(0), Cell::new(0), Cell::new(false));
        Self { options, qemu, emitter, cache, record_dir, slots, cancel, attempts, stop, guests, dumps, over_limit }
    }

    /// Whether the cache's limit is told of now, which is done once in a run.
    pub(crate) fn tells_of_limit(&self) -> bool {
        !self.over_limit.replace(true)
    }

    /// Ends the run: guests are killed, what has not run stays so. The first reason counts.
    pub(crate) fn stop(&self, why: Stop) {
        if self.stop.get().is_none() {
            self.stop.set(Some(why));
            self.cancel.cancel();
        }
    }

    /// Why the run ends early, where it does.
    pub(crate) const fn stopped(&self) -> Option<Stop> {
        self.stop.get()
    }

    /// An attempt at a job has ended.
    pub(crate) fn attempt_ended(&self, report: JobReport, end: AttemptEnd) {
        let events = self.attempts.take(report, end, self.stopped().is_some());
        events.into_iter().for_each(|event| self.emitter.emit(event));
    }

    /// Takes one of the run's dumps. None where it has had them all, or wants none.
    pub(crate) fn take_dump(&self) -> Option<&PathBuf> {
        let dir = self.options.dump_dir.as_ref()?;
        self.dumps.set(self.dumps.get() + 1);
        if self.dumps.get() == DUMPS + 1 {
            self.emitter.notice(format!("{DUMPS} guests' memories are kept of this run; those of others are not"));
        }
        (self.dumps.get() <= DUMPS).then_some(dir)
    }

    pub(crate) fn next_guest(&self) -> u32 {
        let number = self.guests.get() + 1;
        self.guests.set(number);
        number
    }
}
