//! What happens in a run, as owned values that can be stored and rendered again. The runner makes them and prints
//! nothing; the reporters render them and decide nothing.

use serde::{Deserialize, Serialize};
use vmlab_protocol::message::{Hello, Leg, LegOutcome};

use crate::attempts::Attempts;
use crate::job::{Job, JobSpec};
use crate::loss::LossReport;
use crate::schedule::Repetition;
use crate::target::TargetId;
use crate::verdict::{Class, Verdict};
use vmlab_console::Finding;

/// An event and when it happened. One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// Milliseconds since the run started, on a clock that never goes back.
    pub elapsed_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: LabEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LabEvent {
    /// First of a run. Says what must be announced and ended for the run to be whole.
    RunStarted {
        /// The record's name, as `20261122-110203-4f2a`.
        run_id: String,
        /// vmlab's version.
        vmlab_version: String,
        /// Wall clock, ms since 1970 UTC.
        started_at_unix_ms: u64,
        /// As typed.
        argv: Vec<String>,
        /// In the order asked for.
        targets: Vec<TargetId>,
        /// The jobs chosen, sorted by name; each runs on each target.
        jobs: Vec<JobSpec>,
        /// How jobs are kept apart: `fork`, `shared`, `boot`.
        isolation: String,
        /// How often each scenario is to run.
        #[serde(default)]
        repetition: Repetition,
    },
    /// Something the user should know, in one line.
    Notice {
        /// The line.
        text: String,
    },
    /// A kernel was found and its image built.
    KernelReady {
        /// The target.
        target: TargetId,
        /// `uname -r`
        release: String,
        /// Of the kernel's file, hexadecimal.
        kernel_sha256: String,
        /// Of its config, where that is known.
        config_sha256: Option<String>,
        /// Of the initramfs.
        image_sha256: String,
        /// Size of the initramfs.
        image_bytes: u64,
    },
    /// QEMU is being started.
    GuestStarting {
        /// Number of the guest in this run, from 1.
        guest: u32,
        /// The target.
        target: TargetId,
        /// How it comes to be: `boot`, `template` (a boot that is saved) or `fork`.
        start: String,
        /// `tcg` or `kvm`.
        accelerator: String,
        /// QEMU's command line.
        argv: Vec<String>,
        /// The console's file within the run record.
        console: String,
    },
    /// The guest is one of its own and ready for work.
    GuestReady {
        /// Its number.
        guest: u32,
        /// From QEMU's start, in ms. Of a fork that was started ahead the time that it waited for work is in it: the
        /// phase `spare` of its timings tells how long that was.
        boot_ms: u64,
        /// Its own boot id; none of a guest that is saved as a template, whose forks each draw their own.
        boot_id: Option<String>,
        /// What it said, or its template had said.
        hello: Box<Hello>,
    },
    /// The guest has announced a scenario.
    JobStarted {
        /// The guest's number.
        guest: u32,
        /// The target.
        target: TargetId,
        /// The job.
        job: Job,
        /// Which of its attempts, from 1; also across guests that run side by side.
        #[serde(default = "first")]
        attempt: u32,
    },
    /// The end of an attempt that is not the last word: with `--retries` each that failed, and the one after it; with
    /// `--repeat` and `--until-failure` each. One that the end of the run cut short is [`Verdict::NotRun`].
    JobAttempted(Box<JobReport>),
    /// The last word on a scenario. Comes exactly once for each kernel and scenario of [`LabEvent::RunStarted`].
    JobFinished(Box<JobReport>),
    /// A guest did not come to its goodbye: what is known of it, before the words on its scenarios.
    GuestLost(Box<LossReport>),
    /// QEMU is gone.
    GuestEnded {
        /// Its number.
        guest: u32,
        /// How it ended, in a few words.
        how: String,
        /// Size of its console's file.
        console_bytes: u64,
    },
    /// Where a guest's time went; after [`LabEvent::GuestEnded`].
    ///
    /// `spawn` (fork and exec of QEMU), `qemu` (until its monitor's greeting), then of a fork `machine` (until QEMU
    /// answers), `restore` (until its processors run) and `spare` (until there is work for it), of the others `boot`
    /// (until the hello); `prepare` (until the guest is one of its own), `start` (until a scenario is announced),
    /// `scenario`, `goodbye`, `end` (until QEMU is killed and reaped). Of a template `save` follows the boot, and `keep`
    /// the end. `lost` is the time from the end of the last phase until the guest was given up. They follow each other
    /// without a gap, and `total` is their sum, but that each is cut to whole µs. `probe`, `subject` and `control` are parts of the scenario before them,
    /// on the guest's clock.
    GuestTimings {
        /// Its number.
        guest: u32,
        /// The target.
        target: TargetId,
        /// As in [`LabEvent::GuestStarting`].
        start: String,
        /// In order.
        phases: Vec<Phase>,
    },
    /// The user interrupted the run.
    Interrupted,
    /// Where the run's own time went; once, shortly before [`LabEvent::RunFinished`].
    ///
    /// `plan` (what is to run), `setup` (where packages were to be installed), `prepare-qemu`, `prepare-kernels`,
    /// `prepare-accelerator`, `prepare-images`, `open` (the record and the reports), `guests` (all of them), and `total`,
    /// their sum.
    RunTimings {
        /// In order.
        phases: Vec<Phase>,
    },
    /// Last of a run.
    RunFinished {
        /// How many scenarios ended how.
        counts: Counts,
        /// What vmlab exits with.
        exit_code: u8,
    },
}

/// A part of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// What was done or waited for.
    pub name: String,
    /// How long it took, in µs.
    pub us: u64,
}

/// The last word on one scenario on one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// The target.
    pub target: TargetId,
    /// The job.
    pub job: Job,
    /// The guest it ran in; none where there never was one.
    pub guest: Option<u32>,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What each leg found, in order.
    pub legs: Vec<LegReport>,
    /// What the kernel reported about itself meanwhile, but for the crash. In records of vmlab's first version each is
    /// its title alone.
    pub warnings: Vec<Finding>,
    /// The end of its standard output, lossily decoded; control characters are still in it.
    pub stdout: String,
    /// The end of its standard error, likewise.
    pub stderr: String,
    /// Bytes of output that are not in `stdout` and `stderr`.
    pub output_dropped: u64,
    /// From its announcement to its end, ms on the host.
    pub duration_ms: u64,
    /// Which attempt this evidence is of, from 1. A last word on several has that of the first that failed, else of the
    /// first.
    #[serde(default = "first")]
    pub attempt: u32,
    /// What the attempts came to; only in the last word, and only where each was reported on its own as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
}

const fn first() -> u32 {
    1
}

impl JobReport {
    /// Of a scenario that no guest announced: there is nothing but a verdict.
    #[must_use]
    pub const fn without_guest(target: TargetId, job: Job, verdict: Verdict) -> Self {
        Self {
            target,
            job,
            guest: None,
            verdict,
            legs: Vec::new(),
            warnings: Vec::new(),
            stdout: String::new(),
            stderr: String::new(),
            output_dropped: 0,
            duration_ms: 0,
            attempt: first(),
            attempts: None,
        }
    }
}

/// What one leg found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegReport {
    /// Which.
    pub leg: Leg,
    /// What it found.
    pub outcome: LegOutcome,
    /// On the guest's clock, in ns.
    pub duration_ns: u64,
}

/// How many scenarios ended how; a scenario on two kernels counts twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// [`Class::Good`]
    pub good: u32,
    /// [`Class::Skipped`]
    pub skipped: u32,
    /// [`Class::Flaky`]
    #[serde(default)]
    pub flaky: u32,
    /// [`Class::Bad`]
    pub bad: u32,
    /// [`Class::TimedOut`]
    pub timed_out: u32,
    /// [`Class::Crashed`]
    pub crashed: u32,
    /// [`Class::Lab`]
    pub lab: u32,
    /// [`Class::NotRun`]
    pub not_run: u32,
}

impl Counts {
    /// Counts one more.
    pub const fn add(&mut self, class: Class) {
        let field = match class {
            Class::Good => &mut self.good,
            Class::Skipped => &mut self.skipped,
            Class::Flaky => &mut self.flaky,
            Class::Bad => &mut self.bad,
            Class::TimedOut => &mut self.timed_out,
            Class::Crashed => &mut self.crashed,
            Class::Lab => &mut self.lab,
            Class::NotRun => &mut self.not_run,
        };
        *field += 1;
    }

    /// All of them together.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.good + self.skipped + self.flaky + self.bad + self.timed_out + self.crashed + self.lab + self.not_run
    }
}
