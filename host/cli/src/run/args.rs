//! `vmlab run`'s arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use vmlab_events::schedule::{Isolation, Repetition};
use vmlab_kernel::KernelSource;
use vmlab_lab::limits;
use vmlab_lab::plan::Filter;
use vmlab_qemu::accel::Wanted;
use vmlab_report::{Format, ReportSpec};

/// Run scenarios on one or more kernels.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Which scenarios: a part of their names, or =NAME for exactly that one; all where none is given
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<Filter>,

    /// Kernel to run on; may be given several times [default: the catalogue's default]
    ///
    /// debian:SUITE[/FLAVOUR] (a stock Debian kernel, fetched once), installed[:RELEASE], or the path of a bzImage or
    /// vmlinux.
    #[arg(short, long = "kernel", value_name = "KERNEL")]
    pub(super) kernels: Vec<KernelSource>,

    /// How scenarios are kept apart
    #[arg(long, value_enum, default_value = "fork")]
    pub(super) isolation: IsolationArg,

    // The table of formats gives their names and descriptions.
    #[arg(
        short,
        long = "report",
        value_name = "FORMAT[=FILE]",
        help = reports_help(),
        long_help = format!("{}\n\n{}", reports_help(), Format::described())
    )]
    pub(super) reports: Vec<ReportSpec>,

    /// What runs the guests' instructions
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) accel: AccelArg,

    /// Memory of each guest in MiB
    #[arg(short, long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(super) memory: u32,

    /// Processors of each guest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(super) cpus: u32,

    /// Guests at the same time [default: this machine's processors divided by --cpus]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) jobs: Option<u16>,

    /// Limit from QEMU's start to the kernel's first line, in seconds [default: 30 under kvm, 120 under tcg]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) boot_timeout: Option<u32>,

    /// Limit from there to the guest's first word, and until a fork is ready, in seconds [default: as --boot-timeout; of a
    /// fork, 10 under kvm, 60 under tcg]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) handshake_timeout: Option<u32>,

    /// Limit of each scenario, in seconds; a leg gets a quarter of it [default: three legs' own limits, six times as long
    /// under tcg, and 15 s]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) scenario_timeout: Option<u32>,

    /// How long a guest may say and do nothing while a scenario runs, in seconds [default: a leg's limit and 15 s]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) silence_timeout: Option<u32>,

    /// Limit of the whole run, in seconds, counted from the first guest's start [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub(super) timeout: Option<u32>,

    /// Run a scenario that fails again, in a guest of its own, up to N times; where one of these does not fail, it is
    /// FLAKY, never PASS, and the exit code is 1
    #[arg(long, value_name = "N", conflicts_with_all = ["repeat", "until_failure"], value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) retries: Option<u32>,

    /// Run each scenario N times, each time in another guest (with --isolation shared a fresh one for each round of all
    /// scenarios), and tell how often it failed, with a confidence interval
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) repeat: Option<u32>,

    /// Run all scenarios round after round until one fails; --repeat N or --timeout ends it without a failure
    #[arg(long)]
    pub(super) until_failure: bool,
    /// Keep the memory of guests that crash, hang or vanish, as ELF cores for crash(8) or drgn [default directory: the
    /// run's record]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub(super) dump: Option<Option<PathBuf>>,

    /// More words for the kernels' command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(super) append: Option<String>,

    /// QEMU to use [default: $VMLAB_QEMU, then qemu-system-x86_64 in PATH]
    #[arg(long, value_name = "PATH")]
    pub(super) qemu: Option<PathBuf>,

    /// Pick from the faults of `vmlab selftest faults` as well; their kernel modules are in this directory
    #[arg(long, value_name = "DIR", hide = true)]
    pub(super) faults: Option<PathBuf>,

    /// Install what is missing on this machine first, with its package manager, after saying so
    #[arg(long)]
    pub(super) setup: bool,

    /// Use only what is in the cache already
    #[arg(long)]
    pub(super) offline: bool,

    /// Keep no run record
    #[arg(long)]
    pub(super) no_record: bool,

    /// Show where the time went, phase by phase
    #[arg(long)]
    pub(super) timings: bool,

    /// Show the passing scenarios' findings and output as well
    #[arg(short, long, conflicts_with = "quiet")]
    pub(super) verbose: bool,

    /// Show only the table and the summary
    #[arg(short, long)]
    pub(super) quiet: bool,
}

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
    /// A guest of its own for each scenario, forked from a booted one
    Fork,
    /// One guest for all scenarios of a kernel
    Shared,
    /// A freshly booted guest for each scenario
    Boot,
}

impl RunArgs {
    /// What was said of limits.
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

/// What runs the guests' instructions.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AccelArg {
    /// kvm where it can run a kernel, which is tried out once; else tcg
    Auto,
    /// The host's hardware
    Kvm,
    /// QEMU's emulation
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
  vmlab run =uts.hostname --repeat 100            how often does it fail?
  vmlab run uts --until-failure --timeout 600     look for a failure for ten minutes

Exit codes:
  0 all as expected   1 one failed or is flaky   2 usage or configuration   3 a kernel crashed
  4 nothing ran      69 the lab failed     124 timed out              130 interrupted";

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
