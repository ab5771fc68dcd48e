//! The command line. clap's types stay in here: what goes further is plain and validated.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use vmlab_report::progress::TerminalProgress;
use vmlab_report::screen::Screen;
use vmlab_report::style::{Facts, Style, Verbosity};
use vmlab_store::dirs::Dirs;

mod cache;
mod doctor;
mod failure;
mod interrupt;
mod kernel;
mod list;
mod output;
mod report;
mod run;
mod selftest;

pub use failure::Failure;

/// Boots many Linux kernels in QEMU, runs scenarios inside, and gives a verdict that can be trusted.
#[derive(Debug, Parser)]
#[command(name = "vmlab", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    List(list::ListArgs),
    /// Kernels: what is known, what is there, and fetching them
    Kernel(kernel::Args),
    Cache(cache::Args),
    Report(report::ReportArgs),
    Doctor(doctor::Args),
    Selftest(selftest::SelftestArgs),
}

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    /// Where the cache and the run records are.
    pub dirs: Dirs,
}

/// Runs the command that was typed.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn start(cli: Cli) -> Result<u8, Failure> {
    interrupt::outlive_file_size_limit()?;
    let context = Context { dirs: Dirs::from_env().map_err(Failure::usage)? };
    // One thread: a QEMU is tied to the life of the thread that started it (PR_SET_PDEATHSIG), and waiting is all that
    // most of this program does.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(KEEP_ALIVE)
        .build()
        .map_err(|error| Failure::lab(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        start_worker().await?;
        dispatch(cli.command, &context).await
    })
}

/// Longer than any run.
const KEEP_ALIVE: Duration = Duration::from_secs(365 * 86_400);

/// Starts the thread for work that blocks. The runtime panics where it needs its first one and cannot have it, and makes do
/// with that one where it cannot have more.
async fn start_worker() -> Result<(), Failure> {
    let failed = |error| Failure::lab(format!("cannot start a thread: {error} (ulimit -u limits them)"));
    // Whether there can be one is found out by one of our own.
    drop(std::thread::Builder::new().spawn(|| ()).map_err(failed)?.join());
    tokio::task::spawn_blocking(|| ()).await.map_err(|error| failed(error.into()))
}

async fn dispatch(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => run::run(&args, context).await,
        Command::List(args) => list::run(&args),
        Command::Kernel(args) => kernel::run(args, context).await,
        Command::Cache(args) => cache::run(&args, context),
        Command::Report(args) => report::report(&args, context),
        Command::Doctor(args) => doctor::run(args, context).await,
        Command::Selftest(args) => selftest::run(&args, context).await,
    }
}

/// Progress on standard error, as the terminal allows.
fn progress() -> TerminalProgress {
    let live = Style::decide(&Facts::gather()).live;
    TerminalProgress::new(&if live { Screen::stderr() } else { Screen::none() }, Verbosity::Normal)
}
