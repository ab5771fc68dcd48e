//! `vmlab selftest`: parses the arguments of the fault suite and prints its progress; proves what scenarios need.

use clap::{Args, Subcommand};

mod configs;
mod scenarios;
mod verdicts;

use crate::interrupt::Interrupts;
use crate::lab_args::{AccelArg, IsolationArg};
use crate::{Context, Failure, output};
use vmlab_events::clean;
use vmlab_events::error::chain;
use vmlab_events::exit;
use vmlab_events::progress::Progress as _;
use vmlab_kernel::catalogue::Catalogue;
use vmlab_kernel::{FetchPolicy, Kernel, KernelSource};
use vmlab_selftest::table::{self, Row};
use vmlab_selftest::{Event, Expected, Outcome, Plan, RowResult, SelftestError, Summary};

/// Test vmlab itself on this machine.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Faults(FaultsArgs),
    Configs(configs::ConfigsArgs),
    Scenarios(scenarios::ScenariosArgs),
}

/// Make guests, QEMU, the host and vmlab itself fail in known ways, and compare each verdict with the expected verdict.
///
/// The faults happen inside guests and in processes of the suite; only --step-clock changes this machine. The suite takes
/// some minutes for each kernel.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct FaultsArgs {
    /// Parts of the names of faults to run [default: all faults]
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,

    /// Kernel to run on; may be given several times [default: the catalogue's default]
    #[arg(short, long = "kernel", value_name = "KERNEL")]
    kernels: Vec<KernelSource>,

    /// How scenarios are kept apart; may be given several times
    #[arg(long, value_enum, default_value = "fork")]
    isolation: Vec<IsolationArg>,

    /// What runs the guests' instructions
    #[arg(long, value_enum, default_value = "auto")]
    accel: AccelArg,

    /// Allow setting this machine's wall clock an hour back for some seconds; needs root
    #[arg(long)]
    step_clock: bool,

    /// List the faults and what is expected of each, and run nothing
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  vmlab selftest faults                                    all faults on the default kernel
  vmlab selftest faults -k debian:bookworm -k debian:trixie --isolation boot
  vmlab selftest faults qemu pid1                          faults whose names contain `qemu` or `pid1`
  vmlab selftest faults --list

Exit codes:
  0 every fault that ran has its expected verdict   1 a verdict differs, or something was left behind
  4 no fault ran";

pub(super) async fn run(args: &SelftestArgs, context: &Context) -> Result<u8, Failure> {
    let args = match &args.what {
        What::Faults(args) => args,
        What::Configs(args) => {
            return Interrupts::listen()?.or_interrupt(configs::run(args, context)).await;
        }
        What::Scenarios(args) => {
            return Interrupts::listen()?.or_interrupt(scenarios::run(args, context)).await;
        }
    };
    let rows = table::select(&args.filters).map_err(|filter| {
        let message = format!("no fault's name contains `{filter}`; `vmlab selftest faults --list` names all faults");
        Failure::with_code(exit::NOTHING_RAN, message)
    })?;
    if args.list {
        let lines = rows.iter().map(|row| format!("{:<20} {}\n", row.name, expected(&row.expected)));
        return output::print(&lines.collect::<String>()).map(|()| exit::OK);
    }
    let mut interrupts = Interrupts::listen()?;
    interrupts.or_interrupt(run_suite(args, rows, context)).await
}

fn expected(expected: &Expected) -> String {
    let texts: Vec<_> = expected.texts.iter().map(|text| format!("`{text}`")).collect();
    format!("{} {} {}", expected.label, expected.exit, texts.join(" ")).trim_end().to_owned()
}

async fn run_suite(args: &FaultsArgs, rows: Vec<&'static Row>, context: &Context) -> Result<u8, Failure> {
    let kernels = obtain_kernels(&args.kernels, context).await?;
    let plan = Plan {
        program: std::env::current_exe()
            .map_err(|error| Failure::lab(format!("cannot find this program's own file to run it: {error}")))?,
        cache: context.dirs.cache.clone(),
        kernels: &kernels,
        isolations: args.isolation.iter().map(|isolation| (*isolation).into()).collect(),
        accel: args.accel.name(),
        step_clock: args.step_clock,
        rows,
    };
    let summary = vmlab_selftest::run(&plan, |event| output::print(&text(&event))).await?;
    let Summary { right, wrong, not_done, before, after } = &summary;
    output::print(&format!("\nbefore: {before}\nafter:  {after}\n"))?;
    output::print(&format!("\n{right} right, {wrong} wrong, {not_done} not done\n"))?;
    Ok(exit_code(&summary))
}

async fn obtain_kernels(named: &[KernelSource], context: &Context) -> Result<Vec<Kernel>, Failure> {
    let mut sources = named.to_vec();
    if sources.is_empty() {
        sources.push(Catalogue::default_source().map_err(Failure::lab)?);
    }
    let mut kernels = Vec::new();
    for source in &sources {
        let progress = super::progress();
        kernels.push(vmlab_kernel::obtain(source, &context.dirs, FetchPolicy::CacheFirst.into(), &progress).await?);
        progress.done();
    }
    Ok(kernels)
}

fn exit_code(summary: &Summary) -> u8 {
    match (summary.right, summary.wrong, summary.after.is_nothing()) {
        (1.., 0, true) => exit::OK,
        (0, 0, true) => exit::NOTHING_RAN,
        _ => exit::FAILED,
    }
}

impl From<SelftestError> for Failure {
    fn from(error: SelftestError) -> Self {
        Self::lab(chain(&error))
    }
}

/// What is printed for an event.
fn text(event: &Event<'_>) -> String {
    match event {
        Event::Started { before } => format!("before: {before}\n"),
        Event::TargetStarted { kernel, isolation } => format!(
            "\n{} ({}), --isolation {}\n  {:<20} {:<9} {:<11} {:>8}  OBSERVED\n",
            kernel.label,
            kernel.release,
            isolation.name(),
            "FAULT",
            "",
            "EXPECTED",
            ""
        ),
        Event::RowFinished { row, result } => line(row, result),
    }
}

/// A line of the table, and below it all differences.
fn line(row: &Row, result: &RowResult) -> String {
    let Row { name, expected, .. } = row;
    let (outcome, observed, differences): (_, _, &[String]) = match &result.outcome {
        Outcome::Right => ("right", &result.summary, &[]),
        Outcome::Wrong(differences) => ("WRONG", &result.summary, differences),
        Outcome::NotDone(why) => ("not done", why, &[]),
    };
    let expected = format!("{} {}", expected.label, expected.exit);
    let seconds = result.duration.as_secs_f32();
    let mut text = format!("  {name:<20} {outcome:<9} {expected:<11} {seconds:>6.1} s  {observed}\n");
    for difference in differences.iter().flat_map(|difference| difference.lines()) {
        text.push_str(&format!("      {}\n", clean::line(difference)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_selftest::env::Leftovers;

    #[test]
    fn success_needs_a_right_row_no_wrong_row_and_nothing_left() {
        let nothing = Leftovers { processes: 0, sockets: 0, files: 0 };
        let summary = |right, wrong, processes| Summary {
            right,
            wrong,
            not_done: 1,
            before: nothing,
            after: Leftovers { processes, ..nothing },
        };
        assert_eq!(exit_code(&summary(1, 0, 0)), exit::OK);
        assert_eq!(exit_code(&summary(0, 0, 0)), exit::NOTHING_RAN);
        assert_eq!(exit_code(&summary(1, 1, 0)), exit::FAILED);
        assert_eq!(exit_code(&summary(1, 0, 1)), exit::FAILED);
        assert_eq!(exit_code(&summary(0, 0, 1)), exit::FAILED);
    }
}
