//! `vmlab run`'s arguments.

use std::path::PathBuf;

use clap::Args;

use crate::lab_args::{GUESTS, GuestArgs, KernelArgs, OutputArgs, RepetitionArgs, TIMEOUTS};
use vmlab_lab::select::Filter;

/// Run scenarios on one or more kernels
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Scenarios, or with --kunit KUnit suites, to run: a part of their names, or =NAME for exactly that one [default: all]
    #[arg(value_name = "FILTER")]
    pub(super) filters: Vec<Filter>,

    #[command(flatten)]
    pub(super) kernels: KernelArgs,

    /// Also run the KUnit suites of kernels that are built with them (-k tree:.+kunit), each as a job `kunit.SUITE`
    ///
    /// Filters select from scenarios and suites: `vmlab run --kunit kunit.` runs all suites and no scenario.
    #[arg(long)]
    pub(super) kunit: bool,

    /// Measure costs instead: run the measuring scenarios, in guests that count instructions
    ///
    /// Filters select from the measuring scenarios. Under TCG a cost is a number of instructions; under KVM it is a time.
    /// `vmlab help measuring` explains the figures.
    #[arg(long, conflicts_with_all = ["kunit", "faults"])]
    pub(super) measure: bool,

    /// Print what would run, on what, and from where, and do nothing else
    #[arg(long, conflicts_with = "setup")]
    pub(super) dry_run: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(super) guests: GuestArgs,

    /// Memory of each guest in MiB
    #[arg(short, long, value_name = "MIB", default_value_t = 256, help_heading = GUESTS)]
    #[arg(value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(super) memory: u32,

    /// Also select from the faults of `vmlab selftest faults`, whose kernel modules are in this directory
    #[arg(long, value_name = "DIR", hide = true)]
    pub(super) faults: Option<PathBuf>,

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

    #[command(flatten)]
    pub(super) repetition: RepetitionArgs,
}

const EXAMPLES: &str = "\
Examples:
  vmlab run                                       all scenarios on the default kernel
  vmlab run uts. pid. -k debian:bookworm          two areas on Debian 12's kernel
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
        assert_eq!(args.guests.append.as_deref(), Some("-- x"));
        assert_eq!(args.filters.len(), 1);
        assert!(Command::try_parse_from(["run", "--memory", "-1"]).is_err());
    }
}
