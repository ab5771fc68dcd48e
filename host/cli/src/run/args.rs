//! `vmlab run`'s arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{StringValueParser, TypedValueParser as _};
use clap::{ArgAction, Args, ValueEnum, ValueHint};

use crate::kernel_arg;
use crate::suggest::{formats, suggest};
use vmlab_events::schedule::{Isolation, Repetition};
use vmlab_kernel::KernelSource;
use vmlab_kernel::order::FragmentName;
use vmlab_lab::limits;
use vmlab_lab::select::Filter;
use vmlab_qemu::accel::Wanted;
use vmlab_report::{Format, ReportSpec};

/// Run scenarios on one or more kernels
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Scenarios, or with --kunit KUnit suites, to run: a part of their names, or =NAME for exactly that one [default: all]
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<Filter>,

    /// Kernel to run on; may be given several times [default: debian:trixie]
    ///
    /// KERNEL is debian:SUITE[/FLAVOUR] (a stock Debian kernel, fetched once), installed[:RELEASE] (a kernel of this
    /// machine), source:SUITE[+FRAGMENT]... or tree:PATH[+FRAGMENT]... (built from source, as tree:.+namespaces), or the path
    /// of a bzImage or vmlinux. `vmlab help kernels` and `vmlab help builds` have more.
    #[arg(short, long = "kernel", value_name = "KERNEL", value_parser = kernel_arg::parse, value_hint = ValueHint::FilePath)]
    pub(super) kernels: Vec<KernelSource>,

    /// Also run the KUnit suites of kernels that are built with them (-k tree:.+kunit), each as a job `kunit.SUITE`
    ///
    /// Filters select from scenarios and suites: `vmlab run --kunit kunit.` runs all suites and no scenario.
    #[arg(long)]
    pub(super) kunit: bool,

    /// Config fragment for all kernels that are built; may be given several times
    #[arg(long, value_name = "FRAGMENT", value_parser = kernel_arg::parse_fragment, value_hint = ValueHint::FilePath)]
    pub(super) config: Vec<FragmentName>,

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
    pub(super) reports: Vec<ReportSpec>,

    /// How scenarios are kept apart
    #[arg(long, value_enum, default_value = "fork", help_heading = GUESTS)]
    pub(super) isolation: IsolationArg,

    /// What executes the guests' instructions
    #[arg(long, value_enum, default_value = "auto", help_heading = GUESTS)]
    pub(super) accel: AccelArg,

    /// Memory of each guest in MiB
    #[arg(short, long, value_name = "MIB", default_value_t = 256, help_heading = GUESTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(super) memory: u32,

    /// Processors of each guest
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = GUESTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(super) cpus: u32,

    /// Guests that run at the same time [default: this machine's processors divided by --cpus]
    #[arg(short, long, value_name = "N", help_heading = GUESTS)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) jobs: Option<u16>,

    /// Words to add to the kernels' command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true, help_heading = GUESTS)]
    pub(super) append: Option<String>,

    /// Keep the memory of guests that crash, hang or vanish, as ELF cores for crash(8) or drgn [default directory: the
    /// run's record]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, help_heading = GUESTS)]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(super) dump: Option<Option<PathBuf>>,

    /// QEMU to use [default: $VMLAB_QEMU, then qemu-system-x86_64 in PATH]
    #[arg(long, value_name = "PATH", help_heading = GUESTS, value_hint = ValueHint::ExecutablePath)]
    pub(super) qemu: Option<PathBuf>,

    /// Also select from the faults of `vmlab selftest faults`, whose kernel modules are in this directory
    #[arg(long, value_name = "DIR", hide = true)]
    pub(super) faults: Option<PathBuf>,

    /// Time from QEMU's start to the kernel's first line [default: 30 under kvm, 120 under tcg]
    #[arg(long, value_name = "SECONDS", help_heading = TIMEOUTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) boot_timeout: Option<u32>,

    /// Time from the kernel's first line until the guest is ready, and from a fork's start until it is ready [default: as
    /// --boot-timeout; for a fork 10 under kvm, 60 under tcg]
    #[arg(long, value_name = "SECONDS", help_heading = TIMEOUTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) handshake_timeout: Option<u32>,

    /// Time for each scenario; each of its three legs gets a quarter of it [default: the sum of the legs' own timeouts, six
    /// times as long under tcg, plus 15]
    #[arg(long, value_name = "SECONDS", help_heading = TIMEOUTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) scenario_timeout: Option<u32>,

    /// Time for which a guest may neither print nor compute while a scenario runs [default: a leg's timeout plus 15]
    #[arg(long, value_name = "SECONDS", help_heading = TIMEOUTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) silence_timeout: Option<u32>,

    /// Time for the whole run, counted from the start of the first guest [default: none]
    #[arg(long, value_name = "SECONDS", help_heading = TIMEOUTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub(super) timeout: Option<u32>,

    /// Run a failed scenario again, up to N times, each time in a fresh guest
    ///
    /// If a later attempt does not fail, the scenario is FLAKY, never PASS, and the exit code is 1.
    #[arg(long, value_name = "N", help_heading = REPETITION, conflicts_with_all = ["repeat", "until_failure"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) retries: Option<u32>,

    /// Run each scenario N times, each time in a fresh guest, and print its failure rate with a confidence interval
    ///
    /// With --isolation shared, each round of all scenarios gets a fresh guest.
    #[arg(long, value_name = "N", help_heading = REPETITION)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) repeat: Option<u32>,

    /// Run all scenarios round after round until one fails; --repeat N or --timeout ends the search, and the exit code is 0 if
    /// no scenario failed
    #[arg(long, help_heading = REPETITION)]
    pub(super) until_failure: bool,

    /// Install what this machine lacks first, with its package manager, also for building the kernels that are named; each
    /// command is printed before it runs
    #[arg(long)]
    pub(super) setup: bool,

    /// Use no network: only kernels that are in the cache or on this machine
    #[arg(long)]
    pub(super) offline: bool,

    /// Print what would run, on what, and from where, and do nothing else
    #[arg(long, conflicts_with = "setup")]
    pub(super) dry_run: bool,

    /// Keep no run record
    #[arg(long)]
    pub(super) no_record: bool,

    /// Print where the time went, phase by phase
    #[arg(long)]
    pub(super) timings: bool,

    /// Also print what passing scenarios found and printed, and log to standard error; -vv logs more
    ///
    /// VMLAB_LOG sets the levels instead, such as `trace` or `info,vmlab_lab=trace`, there and in vmlab.log in the record.
    #[arg(short, long, conflicts_with = "quiet", action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print only the table, the summary, and the reasons for missing results
    #[arg(short, long)]
    pub(super) quiet: bool,
}

const GUESTS: &str = "Guests";
const TIMEOUTS: &str = "Timeouts in seconds";
const REPETITION: &str = "Repetition";

impl RunArgs {
    /// How often each scenario runs.
    pub(super) const fn repetition(&self) -> Repetition {
        match (self.until_failure, self.repeat, self.retries) {
            (true, at_most, _) => Repetition::UntilFailure { at_most },
            (false, Some(count), _) => Repetition::Runs { count },
            (false, None, Some(at_most)) => Repetition::Retries { at_most },
            (false, None, None) => Repetition::Once,
        }
    }
}

fn reports_help() -> String {
    format!(
        "Report to write: {}, with =FILE to write it there; may be given several times [default: human]",
        Format::list()
    )
}

/// How scenarios are kept apart.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum IsolationArg {
    /// Each scenario gets its own guest, a fork of a guest that was booted once and saved
    Fork,
    /// All scenarios of a kernel run in one guest
    Shared,
    /// Each scenario gets its own guest, which is booted for it
    Boot,
}

impl RunArgs {
    /// The timeouts that were given.
    pub(super) fn limits(&self) -> limits::Wanted {
        let seconds = |wanted: Option<u32>| wanted.map(|seconds| Duration::from_secs(seconds.into()));
        limits::Wanted {
            boot: seconds(self.boot_timeout),
            handshake: seconds(self.handshake_timeout),
            scenario: seconds(self.scenario_timeout),
            silence: seconds(self.silence_timeout),
        }
    }
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

const EXAMPLES: &str = "\
Examples:
  vmlab run                                       all scenarios on the default kernel
  vmlab run uts pid -k debian:bookworm            two areas on Debian 12's kernel
  vmlab run -k debian:bullseye -k debian:trixie   two kernels side by side
  vmlab run -k arch/x86/boot/bzImage              a kernel of your own
  vmlab run --report human --report junit=vmlab.xml
  vmlab run --kunit kunit. -k tree:.+kunit        the KUnit suites of this source tree
  vmlab run =uts.hostname --repeat 100            how often does it fail?
  vmlab run uts --until-failure --timeout 600     look for a failure for ten minutes

Exit codes:
  0  everything as expected      4  nothing ran, or all was skipped
  1  a scenario failed          69  no result: a guest did not boot, or the lab failed
  2  usage or configuration    124  a timeout ended a scenario or the run
  3  a kernel crashed          130  interrupted
If no scenario matches a filter, the exit code is 4.
`vmlab help reports` explains the verdicts and exit codes.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: RunArgs,
    }

    #[test]
    fn words_for_the_command_line_may_begin_with_a_hyphen() {
        let args = Command::try_parse_from(["run", "--append", "-- x", "uts"]).unwrap().args;
        assert_eq!(args.append.as_deref(), Some("-- x"));
        assert_eq!(args.filters.len(), 1);
        assert!(Command::try_parse_from(["run", "--memory", "-1"]).is_err());
    }

    #[test]
    fn verbosity_is_counted_up_to_its_limit() {
        for (times, counted) in [(1, 1), (2, 2), (255, 255), (20_000, 255)] {
            let separate = std::iter::once("run").chain(std::iter::repeat_n("-v", times));
            assert_eq!(Command::try_parse_from(separate).unwrap().args.verbose, counted, "{times}");
            let joined = format!("-{}", "v".repeat(times));
            assert_eq!(Command::try_parse_from(["run", &joined]).unwrap().args.verbose, counted, "{times}");
        }
    }

    #[test]
    fn how_often_scenarios_run() {
        let parse = |words: &[&str]| Command::try_parse_from([&["run"], words].concat());
        let repetition = |words: &[&str]| parse(words).unwrap().args.repetition();
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
