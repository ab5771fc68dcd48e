//! Arguments that the commands with guests share.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{StringValueParser, TypedValueParser as _};
use clap::{ArgAction, Args, ValueEnum, ValueHint};
use vmlab_events::job::JobSpec;
use vmlab_events::schedule::{ForkMethod, Isolation, Repetition};
use vmlab_kernel::order::FragmentName;
use vmlab_kernel::{FetchPolicy, How, KernelSource};
use vmlab_lab::plan::{Append, Dump};
use vmlab_lab::{Plan, RunError, limits};
use vmlab_qemu::accel::Wanted;
use vmlab_report::style::Verbosity;
use vmlab_report::{Format, ReportSpec};

use crate::suggest::{formats, suggest};
use crate::{Failure, kernel_arg};

/// Which kernels, and how they are obtained.
#[derive(Debug, Args)]
pub(crate) struct KernelArgs {
    /// Kernel to run on; may be given several times [default: debian:trixie]
    ///
    /// KERNEL is debian:SUITE[/FLAVOUR] (a stock Debian kernel, fetched once), installed[:RELEASE] (a kernel of this
    /// machine), source:SUITE[+FRAGMENT]... or tree:PATH[+FRAGMENT]... (built from source, as tree:.+namespaces), or the path
    /// of a bzImage or vmlinux. `vmlab help kernels` and `vmlab help builds` have more.
    #[arg(short, long = "kernel", value_name = "KERNEL", value_parser = kernel_arg::parse, value_hint = ValueHint::FilePath)]
    pub(crate) kernels: Vec<KernelSource>,

    /// Config fragment for all kernels that are built; may be given several times
    #[arg(long, value_name = "FRAGMENT", value_parser = kernel_arg::parse_fragment, value_hint = ValueHint::FilePath)]
    pub(crate) config: Vec<FragmentName>,

    /// Install what this machine lacks first, with its package manager, also for building the kernels that are named; each
    /// command is printed before it runs
    #[arg(long)]
    pub(crate) setup: bool,

    /// Use no network: only kernels that are in the cache or on this machine
    #[arg(long)]
    pub(crate) offline: bool,
}

/// What the guests are like.
#[derive(Debug, Args)]
#[command(next_help_heading = GUESTS)]
pub(crate) struct GuestArgs {
    /// How jobs are kept apart
    #[arg(long, value_enum, default_value = "fork")]
    pub(crate) isolation: IsolationArg,

    /// How forks start
    #[arg(long, value_enum, value_name = "METHOD", default_value = "auto")]
    pub(crate) fork_method: ForkMethodArg,

    /// What executes the guests' instructions
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) accel: AccelArg,

    /// Processors of each guest
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(crate) cpus: u32,

    /// Guests that run at the same time [default: this machine's processors divided by --cpus, or fewer if memory is short]
    #[arg(short, long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,

    /// Words to add to the kernels' command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,

    /// Keep the memory of guests that crash, hang or vanish, as ELF cores for crash(8) or drgn [default directory: the
    /// run's record]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dump: Option<Option<PathBuf>>,

    /// QEMU to use [default: $VMLAB_QEMU, then qemu-system-x86_64 in PATH]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::ExecutablePath)]
    pub(crate) qemu: Option<PathBuf>,

    /// Time from QEMU's start to the kernel's first line [default: 30 under kvm, 120 under tcg]
    #[arg(long, value_name = "SECONDS", help_heading = TIMEOUTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) boot_timeout: Option<u32>,

    /// Time from the kernel's first line until the guest is ready, and from a fork's start until it is ready [default: as
    /// --boot-timeout; for a fork 10 under kvm, 60 under tcg]
    #[arg(long, value_name = "SECONDS", help_heading = TIMEOUTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) handshake_timeout: Option<u32>,
}

/// How often each job runs.
#[derive(Debug, Args)]
#[command(next_help_heading = REPETITION)]
pub(crate) struct RepetitionArgs {
    /// Run a failed job again, up to N times, each time in a fresh guest
    ///
    /// If a later attempt does not fail, the job is FLAKY, never PASS, and the exit code is 1.
    #[arg(long, value_name = "N", conflicts_with_all = ["repeat", "until_failure"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) retries: Option<u32>,

    /// Run each job N times, each time in a fresh guest, and print its failure rate with a confidence interval
    ///
    /// With --isolation shared, each round of all scenarios gets a fresh guest, and up to 1000 runs of a program share one.
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) repeat: Option<u32>,

    /// Run all jobs round after round until one fails; --repeat N limits the rounds, and the exit code is 0 if no job failed
    #[arg(long)]
    pub(crate) until_failure: bool,
}

/// Reports, the record, and what is printed.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    // The table of formats gives their names and descriptions.
    #[arg(
        short,
        long = "report",
        value_name = "FORMAT[=FILE]",
        value_parser = suggest(StringValueParser::new().try_map(|text| text.parse::<ReportSpec>()), formats),
        hide_possible_values = true,
        help = reports_help(),
        long_help = format!("{}\n\n{}", reports_help(), Format::described())
    )]
    pub(crate) reports: Vec<ReportSpec>,

    /// Keep no run record
    #[arg(long)]
    pub(crate) no_record: bool,

    /// Print where the time went, phase by phase
    #[arg(long)]
    pub(crate) timings: bool,

    /// Also print what passing jobs found and printed, and log to standard error; -vv logs more
    ///
    /// VMLAB_LOG sets the levels instead, such as `trace` or `info,vmlab_lab=trace`, there and in vmlab.log in the record.
    #[arg(short, long, conflicts_with = "quiet", action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print only the table, the summary, and the reasons for missing results
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The headings of options.
pub(crate) const GUESTS: &str = "Guests";
pub(crate) const TIMEOUTS: &str = "Timeouts in seconds";
const REPETITION: &str = "Repetition";

fn reports_help() -> String {
    format!(
        "Report to write: {}, with =FILE to write it there; may be given several times [default: human, and none for a command]",
        Format::list()
    )
}

impl OutputArgs {
    pub(crate) const fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, _) => Verbosity::Verbose,
        }
    }
}

impl RepetitionArgs {
    /// How often each job runs.
    pub(crate) const fn repetition(&self) -> Repetition {
        match (self.until_failure, self.repeat, self.retries) {
            (true, at_most, _) => Repetition::UntilFailure { at_most },
            (false, Some(count), _) => Repetition::Runs { count },
            (false, None, Some(at_most)) => Repetition::Retries { at_most },
            (false, None, None) => Repetition::Once,
        }
    }
}

/// The duration of a number of seconds that was given.
pub(crate) fn seconds(wanted: Option<u32>) -> Option<Duration> {
    wanted.map(|seconds| Duration::from_secs(seconds.into()))
}

/// The plan for jobs with these arguments.
pub(crate) fn plan(
    kernels: &KernelArgs,
    guests: &GuestArgs,
    repetition: &RepetitionArgs,
    output: &OutputArgs,
    memory_mib: u32,
    jobs: Vec<JobSpec>,
) -> Result<Plan, Failure> {
    let append = match &guests.append {
        None => Append::default(),
        Some(words) => words.parse().map_err(Failure::usage)?,
    };
    Ok(Plan {
        kernels: kernel_arg::with_fragments(&kernels.kernels, &kernels.config).map_err(Failure::usage)?,
        isolation: guests.isolation.into(),
        fork_method: guests.fork_method.into(),
        repetition: repetition.repetition(),
        accelerator: guests.accel.into(),
        memory_mib,
        cpus: guests.cpus,
        append,
        guests_at_once: guests.jobs.map(usize::from),
        limits: limits::Wanted {
            boot: seconds(guests.boot_timeout),
            handshake: seconds(guests.handshake_timeout),
            ..limits::Wanted::default()
        },
        qemu: guests.qemu.clone(),
        obtain: How {
            jobs: guests.jobs.and_then(|jobs| NonZeroUsize::new(jobs.into())),
            ..if kernels.offline { FetchPolicy::Offline } else { FetchPolicy::CacheFirst }.into()
        },
        dump: match &guests.dump {
            None => Dump::No,
            Some(None) if output.no_record => return Err(Failure::usage(RunError::NoDumpDir)),
            Some(None) => Dump::InRecord,
            Some(Some(dir)) => Dump::In(dir.clone()),
        },
        argv: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        ..Plan::new(jobs)
    })
}

/// How jobs are kept apart.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum IsolationArg {
    /// Each job gets its own guest, a fork of a guest that was booted once and saved
    Fork,
    /// All jobs of a kernel run in one guest
    Shared,
    /// Each job gets its own guest, which is booted for it
    Boot,
}

impl From<IsolationArg> for Isolation {
    fn from(arg: IsolationArg) -> Self {
        match arg {
            IsolationArg::Fork => Self::Fork,
            IsolationArg::Shared => Self::Shared,
            IsolationArg::Boot => Self::Boot,
        }
    }
}

/// How forks start.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ForkMethodArg {
    /// As copies of a QEMU process that has booted (thaw) where that works, else restore
    Auto,
    /// As auto, also if it has failed before
    Thaw,
    /// A new QEMU loads the guest's saved state
    Restore,
}

impl From<ForkMethodArg> for ForkMethod {
    fn from(arg: ForkMethodArg) -> Self {
        match arg {
            ForkMethodArg::Auto => Self::Auto,
            ForkMethodArg::Thaw => Self::Thaw,
            ForkMethodArg::Restore => Self::Restore,
        }
    }
}

/// What executes the guests' instructions.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AccelArg {
    /// KVM if a kernel boots under it, which is tried once; TCG otherwise
    Auto,
    /// KVM, the host's hardware
    Kvm,
    /// TCG, QEMU's emulation, which needs no hardware support
    Tcg,
}

impl AccelArg {
    /// As typed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl From<AccelArg> for Wanted {
    fn from(arg: AccelArg) -> Self {
        match arg {
            AccelArg::Auto => Self::Auto,
            AccelArg::Kvm => Self::Kvm,
            AccelArg::Tcg => Self::Tcg,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        repetition: RepetitionArgs,
        #[command(flatten)]
        output: OutputArgs,
    }

    #[test]
    fn verbosity_is_counted_up_to_its_limit() {
        for (times, counted) in [(1, 1), (2, 2), (255, 255), (20_000, 255)] {
            let separate = std::iter::once("run").chain(std::iter::repeat_n("-v", times));
            assert_eq!(Command::try_parse_from(separate).unwrap().output.verbose, counted, "{times}");
            let joined = format!("-{}", "v".repeat(times));
            assert_eq!(Command::try_parse_from(["run", &joined]).unwrap().output.verbose, counted, "{times}");
        }
    }

    #[test]
    fn how_often_jobs_run() {
        let parse = |words: &[&str]| Command::try_parse_from([&["run"], words].concat());
        let repetition = |words: &[&str]| parse(words).unwrap().repetition.repetition();
        assert_eq!(repetition(&[]), Repetition::Once);
        assert_eq!(repetition(&["--retries", "2"]), Repetition::Retries { at_most: 2 });
        assert_eq!(repetition(&["--repeat", "20"]), Repetition::Runs { count: 20 });
        assert_eq!(repetition(&["--until-failure"]), Repetition::UntilFailure { at_most: None });
        assert_eq!(repetition(&["--until-failure", "--repeat", "9"]), Repetition::UntilFailure { at_most: Some(9) });
        // The rate of what, if a failure is tried again?
        for refused in [
            &["--retries", "1", "--repeat", "2"][..],
            &["--retries", "1", "--until-failure"],
            &["--retries", "0"],
            &["--repeat", "0"],
        ] {
            assert!(parse(refused).is_err(), "{refused:?}");
        }
    }
}
