//! What happens in a run, as owned values that can be stored and rendered again. The lab makes them and prints nothing;
//! the reporters render them and decide nothing.

use serde::{Deserialize, Serialize};
use vmlab_protocol::message::{Hello, Leg, LegOutcome};

use crate::attempts::{Attempt, Attempts};
use crate::job::{Job, JobSpec};
use crate::loss::LossReport;
use crate::schedule::Repetition;
use crate::suite::TestReport;
use crate::target::TargetId;
use crate::verdict::{Class, LaunchFailure, Verdict};
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

/// The form of the events that this version writes. Form 1 is that of November 2026, whose events have no number: kernels
/// and scenarios where form 2 has targets and jobs, and sentences where form 2 has fields.
pub const FORMAT: u32 = 2;

/// The options of a run that can change results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestOptions {
    /// The least number of processors.
    pub cpus: u32,
    /// In MiB.
    pub memory_mib: u32,
    /// The user's words on the kernel's command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<String>,
}

impl Default for GuestOptions {
    fn default() -> Self {
        Self { cpus: 1, memory_mib: 256, append: None }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LabEvent {
    /// First of a run. Says what must be announced and ended for the run to be whole.
    RunStarted {
        /// The form of the events, see [`FORMAT`].
        format: u32,
        /// The record's name, as `20261122-110203-4f2a`.
        run_id: String,
        /// vmlab's version.
        vmlab_version: String,
        /// Wall clock, ms since 1970 UTC.
        started_at_unix_ms: u64,
        /// As typed.
        argv: Vec<String>,
        /// What its guests were to be like. Records of earlier versions have the default.
        #[serde(default)]
        guests: GuestOptions,
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
        /// How it starts: `boot`, `template` (a boot that is saved) or `fork`.
        start: String,
        /// `tcg` or `kvm`.
        accelerator: String,
        /// QEMU's command line.
        argv: Vec<String>,
        /// The names of the emulator quirks whose work-arounds are on the command line; `vmlab doctor` describes them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        quirks: Vec<String>,
        /// The console's file within the run record.
        console: String,
    },
    /// The guest has its own entropy, clock and boot id, and is ready for work.
    GuestReady {
        /// Its number.
        guest: u32,
        /// From QEMU's start, in ms. For a fork that was started ahead this includes the wait for work, which is the phase
        /// `spare` of its timings.
        boot_ms: u64,
        /// Its own boot id; none of a guest that is saved as a template, because each fork draws its own.
        boot_id: Option<String>,
        /// Its hello, or that of its template.
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
    /// The end of an attempt whose verdict is not the final one: with `--retries` each attempt that failed, and the one
    /// after it; with `--repeat` and `--until-failure` each attempt. An attempt that the end of the run cut short is
    /// [`Verdict::NotRun`].
    JobAttempted(Box<JobReport>),
    /// The final verdict on a job. Comes exactly once for each target and job of [`LabEvent::RunStarted`].
    JobFinished(Box<JobReport>),
    /// A guest did not come to its goodbye: what is known of it, before the verdicts on its jobs.
    GuestLost(Box<LossReport>),
    /// QEMU is gone.
    GuestEnded {
        /// Its number.
        guest: u32,
        /// How it ended.
        how: GuestOutcome,
        /// Size of its console's file.
        console_bytes: u64,
    },
    /// Where a guest's time went; after [`LabEvent::GuestEnded`].
    ///
    /// `spawn` (fork and exec of QEMU), `qemu` (until its monitor's greeting), then for a fork `machine` (until QEMU
    /// answers), `restore` (until its CPUs run) and `spare` (until there is work for it), for the others `boot` (until the
    /// hello); `prepare` (until [`LabEvent::GuestReady`]), `start` (until a scenario is announced), `scenario`, `goodbye`,
    /// `end` (until QEMU is killed and reaped). For a template `save` follows the boot, and `keep`
    /// the end. `lost` is the time from the end of the last phase until the guest was given up. The phases follow each
    /// other without a gap, and `total` is their sum, except that each is cut to whole µs. `probe`, `subject` and `control`
    /// are parts of the scenario before them, on the guest's clock.
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
        /// vmlab's exit code.
        exit_code: u8,
    },
}

/// How a guest's QEMU ended, from the host's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum GuestOutcome {
    /// The guest has said goodbye, or was saved as a template.
    Done,
    /// The guest was lost; the evidence is in [`LabEvent::GuestLost`].
    Lost {
        /// What the loss comes to, without a crash's trace.
        verdict: Box<Verdict>,
    },
    /// QEMU could not be started.
    NotStarted {
        /// Why.
        reason: LaunchFailure,
    },
    /// A fork that was started ahead was ended without work.
    NotNeeded {
        /// Why.
        reason: NotNeeded,
    },
    /// The sentence of a record that is older than this type.
    Recorded {
        /// As recorded.
        text: String,
    },
}

/// Why a fork that was started ahead got no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotNeeded {
    /// There was no more work.
    NoMoreWork,
    /// Its template was given up.
    TemplateGivenUp,
}

/// A part of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// What was done or waited for.
    pub name: String,
    /// How long it took, in µs.
    pub us: u64,
}

/// One job on one target: the verdict and the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// The target.
    pub target: TargetId,
    /// The job.
    pub job: Job,
    /// The guest it ran in; none where there was no guest.
    pub guest: Option<u32>,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What each leg found, in order.
    pub legs: Vec<LegReport>,
    /// The results of a KUnit suite's tests, in order. Parameters of a test count as tests of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestReport>,
    /// What the kernel reported about itself meanwhile, except the crash. In records of vmlab's first version each is a
    /// title alone.
    pub warnings: Vec<Finding>,
    /// The end of its standard output, lossily decoded; control characters are still in it.
    pub stdout: String,
    /// The end of its standard error, likewise.
    pub stderr: String,
    /// Bytes of output that are not in `stdout` and `stderr`.
    pub output_dropped: u64,
    /// From its announcement to its end, ms on the host.
    pub duration_ms: u64,
    /// Which attempt this evidence is of, from 1. A final verdict on several attempts has that of the first that failed,
    /// else of the first.
    #[serde(default = "first")]
    pub attempt: u32,
    /// The attempts in short; only with the final verdict, and only where each was reported on its own as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
    /// The report on the second guest, of a job that runs in two guests at once. Its verdict is that guest's own; the verdict
    /// above is the job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Box<JobReport>>,
}

const fn first() -> u32 {
    1
}

impl JobReport {
    /// The report on a job that no guest announced: a verdict without evidence.
    #[must_use]
    pub const fn without_guest(target: TargetId, job: Job, verdict: Verdict) -> Self {
        Self {
            target,
            job,
            guest: None,
            verdict,
            legs: Vec::new(),
            tests: Vec::new(),
            warnings: Vec::new(),
            stdout: String::new(),
            stderr: String::new(),
            output_dropped: 0,
            duration_ms: 0,
            attempt: first(),
            attempts: None,
            peer: None,
        }
    }

    /// The attempt in short, for [`Attempts::add`].
    #[must_use]
    pub fn in_short(&self) -> Attempt {
        let Self { attempt, guest, duration_ms, .. } = *self;
        Attempt { attempt, guest, verdict: self.verdict.clone().without_trace(), duration_ms }
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

/// How many jobs ended how; a job on two kernels counts twice.
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
