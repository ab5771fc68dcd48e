//! `vmlab selftest`: vmlab tried out on itself, on this machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::interrupt::Interrupts;
use super::run::{AccelArg, IsolationArg};
use super::{Context, Failure, output};
use vmlab_events::clean;
use vmlab_events::error::chain;
use vmlab_events::exit;
use vmlab_events::progress::Progress as _;
use vmlab_kernel::catalogue::Catalogue;
use vmlab_kernel::{self, FetchPolicy, Kernel, KernelSource};
use vmlab_selftest::bench::Bench;
use vmlab_selftest::expect::Expected;
use vmlab_selftest::leftovers::Leftovers;
use vmlab_selftest::module::{self, Made};
use vmlab_selftest::suite::{Done, Outcome, Suite};
use vmlab_selftest::table::{ROWS, Row};

/// Tries vmlab itself out on this machine.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Faults(FaultsArgs),
}

/// Has guests, QEMU, the host and vmlab itself fail in known ways, and compares each verdict with the one expected.
///
/// All that is broken is broken inside guests, or is the suite's own; only --step-clock touches the machine. It takes some
/// minutes for each kernel.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct FaultsArgs {
    /// Which faults: a part of their names; all where none is given
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

    /// Also set this machine's wall clock an hour back, for some seconds; needs root
    #[arg(long)]
    step_clock: bool,

    /// Name the faults and what each is to come to, and do nothing
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  vmlab selftest faults                                    all faults on the default kernel
  vmlab selftest faults -k debian:bookworm -k debian:trixie --isolation boot
  vmlab selftest faults qemu pid1                          those whose names contain one of these
  vmlab selftest faults --list

Exit codes:
  0 every fault that was done came to what it should   1 one did not, or something was left behind
  4 none was done";

/// How long what was killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn run(args: &SelftestArgs, context: &Context) -> Result<u8, Failure> {
    let What::Faults(args) = &args.what;
    let rows: Vec<&Row> = ROWS.iter().filter(|row| picked(&args.filters, row)).collect();
    if let Some(filter) = args.filters.iter().find(|filter| !ROWS.iter().any(|row| row.name.contains(*filter))) {
        let message = format!("no fault's name contains `{filter}`; `vmlab selftest faults --list` names them all");
        return Err(Failure::with_code(exit::NOTHING_RAN, message));
    }
    if args.list {
        let lines = rows.iter().map(|row| format!("{:<20} {}\n", row.name, expected(&row.expected)));
        return output::print(&lines.collect::<String>()).map(|()| exit::OK);
    }
    let mut interrupts = Interrupts::listen()?;
    interrupts.or_interrupt(all(args, &rows, context)).await
}

fn picked(filters: &[String], row: &Row) -> bool {
    filters.is_empty() || filters.iter().any(|filter| row.name.contains(filter))
}

fn expected(expected: &Expected) -> String {
    let words: Vec<_> = expected.words.iter().map(|words| format!("`{words}`")).collect();
    format!("{} {} {}", expected.word, expected.exit, words.join(" ")).trim_end().to_owned()
}

/// How many rows came to what.
#[derive(Debug, Default)]
struct Tally {
    right: usize,
    wrong: usize,
    not_done: usize,
}

async fn all(args: &FaultsArgs, rows: &[&Row], context: &Context) -> Result<u8, Failure> {
    let mut sources = args.kernels.clone();
    if sources.is_empty() {
        sources.push(Catalogue::default_source().map_err(Failure::lab)?);
    }
    let bench = Bench::new(&context.dirs.cache).map_err(|error| Failure::lab(chain(&error)))?;
    let before = Leftovers::count(&bench);
    output::print(&format!("before: {before}\n"))?;
    let mut tally = Tally::default();
    for source in &sources {
        let progress = super::progress();
        let kernel = vmlab_kernel::obtain(source, &context.dirs, FetchPolicy::CacheFirst, &progress).await?;
        progress.done();
        let modules = make_modules(&kernel, &bench)?;
        for isolation in &args.isolation {
            on_kernel(&kernel, (*isolation).into(), args, rows, &bench, &modules, &mut tally).await?;
        }
    }
    let clean = leave(bench, before).await?;
    let Tally { right, wrong, not_done } = tally;
    output::print(&format!("\n{right} right, {wrong} wrong, {not_done} not done\n"))?;
    Ok(match (right, wrong, clean) {
        (_, 0, true) if right > 0 => exit::OK,
        (0, 0, true) => exit::NOTHING_RAN,
        _ => exit::FAILED,
    })
}

/// Makes the kernel's fault modules and puts them where the runs find them. The inner error is a reason not to do rows.
fn make_modules(kernel: &Kernel, bench: &Bench) -> Result<Result<Made, String>, Failure> {
    let Some(directory) = &kernel.modules else {
        return Ok(Err(format!("it needs the kernel's modules, and {} came without", kernel.label)));
    };
    let has = |symbol: &str| kernel.config.as_ref().is_some_and(|config| config.enabled(symbol));
    let made = module::make_all(directory, has).map_err(|error| chain(&error));
    let into = bench.path("modules");
    write_modules(&into, made.as_ref().ok())
        .map_err(|error| Failure::lab(format!("cannot write modules to {}: {error}", into.display())))?;
    Ok(made)
}

fn write_modules(into: &Path, made: Option<&Made>) -> std::io::Result<()> {
    fs::remove_dir_all(into)?;
    fs::create_dir(into)?;
    let empty = BTreeMap::new();
    for (name, module) in made.unwrap_or(&empty) {
        if let Ok(module) = module {
            fs::write(into.join(format!("{name}.ko")), module)?;
        }
    }
    Ok(())
}

async fn on_kernel(
    kernel: &Kernel,
    isolation: vmlab_events::schedule::Isolation,
    args: &FaultsArgs,
    rows: &[&Row],
    bench: &Bench,
    modules: &Result<Made, String>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let accel = args.accel.name();
    let words =
        ["--kernel", &kernel.label, "--isolation", isolation.name(), "--accel", accel, "--jobs", "1", "--faults"];
    let mut arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    arguments.push(bench.path("modules").into());
    let suite = Suite { bench, arguments, modules, step_clock: args.step_clock };
    output::print(&format!("\n{} ({}), --isolation {}\n", kernel.label, kernel.release, isolation.name()))?;
    output::print(&format!("  {:<20} {:<9} {:<11} {:>8}  CAME\n", "FAULT", "", "EXPECTED", ""))?;
    for row in rows {
        let done = suite.run(row).await.map_err(|error| Failure::lab(chain(&error)))?;
        match &done.outcome {
            Outcome::Right => tally.right += 1,
            Outcome::Wrong(_) => tally.wrong += 1,
            Outcome::NotDone(_) => tally.not_done += 1,
        }
        output::print(&line(row, &done))?;
    }
    Ok(())
}

/// A row of the table, and below it what is wrong with it.
fn line(row: &Row, done: &Done) -> String {
    let Row { name, expected: to, .. } = row;
    let (word, came, below): (_, _, &[String]) = match &done.outcome {
        Outcome::Right => ("right", &done.came, &[]),
        Outcome::Wrong(wrong) => ("WRONG", &done.came, wrong),
        Outcome::NotDone(why) => ("not done", why, &[]),
    };
    let due = format!("{} {}", to.word, to.exit);
    let seconds = done.took.as_secs_f32();
    let mut text = format!("  {name:<20} {word:<9} {due:<11} {seconds:>6.1} s  {came}\n");
    for wrong in below {
        for line in wrong.lines() {
            text.push_str(&format!("      {}\n", clean::line(line)));
        }
    }
    text
}

/// Tells what is left, and takes the suite's directory away. Whether nothing was.
async fn leave(bench: Bench, before: Leftovers) -> Result<bool, Failure> {
    let began = Instant::now();
    let mut after = Leftovers::count(&bench);
    while !after.is_nothing() && began.elapsed() < GONE_WITHIN {
        tokio::time::sleep(Duration::from_millis(20)).await;
        after = Leftovers::count(&bench);
    }
    output::print(&format!("\nbefore: {before}\nafter:  {after}\n"))?;
    let dir = bench.path("");
    let gone = bench.close();
    gone.map_err(|error| Failure::lab(format!("cannot take {} away: {error}", dir.display())))?;
    Ok(after.is_nothing() && !dir.exists())
}
