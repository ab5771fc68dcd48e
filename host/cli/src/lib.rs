//! The command line. clap's types stay in this crate: other crates get validated values.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use vmlab_qemu::spawn;
use vmlab_report::progress::TerminalProgress;
use vmlab_report::screen::Screen;
use vmlab_report::style::{Facts, Style, Verbosity};
use vmlab_store::dirs::Dirs;

mod cache;
mod completions;
mod console;
mod diff;
mod doctor;
mod exec;
mod explain;
mod failure;
mod help;
mod interrupt;
mod kernel;
mod kernel_arg;
mod lab_args;
mod list;
mod logging;
mod man;
mod memory;
mod output;
mod report;
mod run;
mod selftest;
mod stack;
mod suggest;

use failure::Failure;
use logging::Logging;

/// Boots Linux kernels in QEMU, shows which namespace and cgroup features work on each, and runs programs on them
#[derive(Debug, Parser)]
#[command(name = "vmlab", version, max_term_width = 100, propagate_version = true)]
#[command(disable_help_subcommand = true, after_help = help::examples_and_topics())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Lab(LabCommand),
    #[command(flatten)]
    Plain(PlainCommand),
}

/// Commands that do the work.
#[derive(Debug, Subcommand)]
enum LabCommand {
    Run(Box<run::RunArgs>),
    Exec(Box<exec::ExecArgs>),
    Shell(Box<exec::ShellArgs>),
    List(list::ListArgs),
    Explain(explain::ExplainArgs),
    Kernel(kernel::Args),
    Report(report::ReportArgs),
    Diff(diff::DiffArgs),
    Cache(cache::Args),
    Doctor(doctor::Args),
    Selftest(selftest::SelftestArgs),
}

/// Commands that need neither a home directory nor a runtime.
#[derive(Debug, Subcommand)]
enum PlainCommand {
    Console(console::ConsoleArgs),
    Completions(completions::Args),
    Man(man::Args),
    Help(help::Args),
}

/// What every command of the lab gets.
#[derive(Debug)]
struct Context {
    /// The cache and the run records.
    dirs: Dirs,
}

/// The stack of the thread that does the work, in bytes. The main thread's stack can be smaller than the parser of the
/// command line needs (`ulimit -s`).
const STACK_BYTES: usize = 8 << 20;

/// Runs the command of this process's arguments, in a thread with a stack of its own. All child processes are started by
/// that thread, because they are killed when it ends.
#[must_use]
pub fn main() -> ExitCode {
    if spawn::watch_if_asked() {
        return ExitCode::SUCCESS;
    }
    memory::grow_in_large_steps();
    let worker = std::thread::Builder::new().name("vmlab".to_owned()).stack_size(STACK_BYTES).spawn(command);
    let failure = match worker.map(JoinHandle::join) {
        Ok(Ok(code)) => return code,
        // The thread has panicked, and its message is on standard error.
        Ok(Err(_)) => return ExitCode::from(PANICKED),
        Err(error) => Failure::lab(format!(
            "cannot start a thread with a stack of {} MiB: {error}; raise the limits of memory and threads (ulimit -v, -u)",
            STACK_BYTES >> 20
        )),
    };
    writeln!(io::stderr(), "{failure}").unwrap_or_default();
    ExitCode::from(failure.code)
}

/// The exit code of a Rust program whose main thread panics.
const PANICKED: u8 = 101;

fn command() -> ExitCode {
    let cli = match Cli::try_parse().map_err(name_the_argument) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && exec::is_asked_for(std::env::args_os()) => {
            // The exit codes of this command are the program's.
            error.print().unwrap_or_default();
            return ExitCode::from(exec::usage_code(std::env::args_os()));
        }
        Err(error) => error.exit(),
    };
    match start(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Where standard error cannot be written, the exit code still says it.
            writeln!(io::stderr(), "{failure}").unwrap_or_default();
            ExitCode::from(failure.code)
        }
    }
}

/// clap says that an argument is not UTF-8, but not which.
fn name_the_argument(error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::InvalidUtf8 {
        return error;
    }
    let bad = std::env::args_os().enumerate().find(|(_, argument)| argument.to_str().is_none());
    let Some((number, argument)) = bad else { return error };
    let message = format!("argument {number}, {argument:?}, is not UTF-8; rename the file, or name it by a link");
    clap::Error::raw(error.kind(), format!("{message}\n\nFor more information, try '--help'.\n"))
}

fn start(cli: Cli) -> Result<u8, Failure> {
    interrupt::outlive_file_size_limit()?;
    let command = match cli.command {
        Command::Lab(command) => command,
        Command::Plain(PlainCommand::Console(args)) => return console::run(&args),
        Command::Plain(PlainCommand::Completions(args)) => return completions::run(&args),
        Command::Plain(PlainCommand::Man(args)) => return man::run(&args),
        Command::Plain(PlainCommand::Help(args)) => return help::run(&args),
    };
    if matches!(command, LabCommand::Run(_) | LabCommand::Exec(_) | LabCommand::Shell(_) | LabCommand::Selftest(_)) {
        stack::check()?;
    }
    let verbose = match &command {
        LabCommand::Run(args) => args.output.verbose,
        LabCommand::Exec(args) => args.output.verbose,
        LabCommand::Shell(args) => args.output.verbose,
        _ => 0,
    };
    let logging = logging::start(verbose)?;
    let context = Context { dirs: Dirs::from_env().map_err(Failure::usage)? };
    // One thread, because PR_SET_PDEATHSIG ties a QEMU to the thread that started it. Most of this program only waits.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(KEEP_ALIVE)
        .build()
        .map_err(|error| Failure::lab(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        start_worker().await?;
        dispatch(command, &context, logging).await
    })
}

/// Longer than any run.
const KEEP_ALIVE: Duration = Duration::from_secs(365 * 86_400);

/// Starts the first thread for blocking work. The runtime panics if it cannot start its first one later; it tolerates that
/// it cannot start more.
async fn start_worker() -> Result<(), Failure> {
    // A thread of our own shows whether one can be started.
    drop(std::thread::Builder::new().spawn(|| ()).map_err(|error| interrupt::no_thread(&error))?.join());
    tokio::task::spawn_blocking(|| ()).await.map_err(|error| interrupt::no_thread(&error.into()))
}

async fn dispatch(command: LabCommand, context: &Context, logging: Logging) -> Result<u8, Failure> {
    match command {
        LabCommand::Run(args) => run::run(&args, context, logging).await,
        LabCommand::Exec(args) => exec::run(&args, context, logging).await,
        LabCommand::Shell(args) => exec::run(&args.into_exec()?, context, logging).await,
        LabCommand::List(args) => list::run(&args),
        LabCommand::Explain(args) => explain::run(&args, context),
        LabCommand::Kernel(args) => kernel::run(args, context).await,
        LabCommand::Cache(args) => cache::run(&args, context),
        LabCommand::Report(args) => report::report(&args, context),
        LabCommand::Diff(args) => diff::run(&args, context),
        LabCommand::Doctor(args) => doctor::run(args, context).await,
        LabCommand::Selftest(args) => selftest::run(&args, context).await,
    }
}

/// Progress on standard error: a live line on a terminal, plain lines elsewhere.
fn progress() -> TerminalProgress {
    let live = Style::decide(&Facts::gather()).live;
    TerminalProgress::new(&if live { Screen::stderr() } else { Screen::none() }, Verbosity::Normal)
}
