//! `vmlab doctor`: what this machine lacks, and the command that helps.

use std::path::PathBuf;

use clap::ValueHint;

use super::{Context, Failure, output};
use vmlab_events::clean;
use vmlab_events::error::chain;
use vmlab_events::exit;
use vmlab_events::progress::Progress as _;
use vmlab_kernel::KernelSource;
use vmlab_report::progress::TerminalProgress;
use vmlab_report::screen::Screen;
use vmlab_report::style::Verbosity;
use vmlab_setup::{Question, Scope, Survey, survey};

/// Check what this machine lacks, and print the command that helps
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vmlab doctor          check this machine
  vmlab doctor --fix    install what is missing with the system's package manager, then check
  vmlab doctor --fix --build   also what building kernels needs (make, gcc, flex, bison, ...)
  vmlab doctor --json   for programs

Exit codes:
  0  nothing that vmlab needs is missing (there may be warnings)
 69  something is missing")]
pub struct Args {
    /// First install what is missing with the system's package manager, as root or through sudo
    #[arg(long)]
    fix: bool,
    /// Also require what building kernels needs
    #[arg(long)]
    build: bool,
    /// Also require what the tests of vmlab's own source use
    #[arg(long)]
    tests: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// QEMU to check [default: $VMLAB_QEMU, then qemu-system-x86_64 in PATH]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::ExecutablePath)]
    qemu: Option<PathBuf>,
    /// Kernel file to try KVM with [default: one from the cache or this machine]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    kernel: Option<PathBuf>,
}

/// Installs what a run of these kernels needs and this machine lacks. Each command is printed before it runs.
pub(super) async fn set_up(kernels: &[KernelSource]) -> Result<(), Failure> {
    let builds = kernels.iter().any(|kernel| matches!(kernel, KernelSource::Order(_)));
    install(if builds { Scope::Build } else { Scope::Run }).await
}

/// Progress is plain lines even on a terminal: the package manager writes to standard error too, and would garble a live
/// line.
async fn install(scope: Scope) -> Result<(), Failure> {
    let progress = TerminalProgress::new(&Screen::none(), Verbosity::Normal);
    let installed =
        vmlab_setup::install_missing(scope, &progress).await.map_err(|error| Failure::lab(chain(&error)))?;
    if installed.is_empty() {
        progress.step("no package is missing");
    }
    Ok(())
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let scope = match (args.tests, args.build) {
        (true, _) => Scope::Tests,
        (false, true) => Scope::Build,
        (false, false) => Scope::Run,
    };
    if args.fix {
        install(scope).await?;
    }
    let (qemu, kernel) = (args.qemu.as_deref(), args.kernel.as_deref());
    let found = survey(&Question { dirs: &context.dirs, qemu, kernel, scope }).await;
    if args.json {
        output::print_json(&found)?;
    } else {
        output::print(&lines(&found))?;
    }
    Ok(if found.fit { exit::OK } else { exit::LAB })
}

/// A line for each check, followed by a line for what to do, if there is something.
fn lines(found: &Survey) -> String {
    let rows = found.checks.iter().flat_map(|check| {
        let row = [check.status.to_string(), check.name.to_owned(), clean::line(&check.detail)];
        let remedy = check.remedy.as_ref().map(|remedy| [String::new(), String::new(), format!("-> {remedy}")]);
        [Some(row), remedy].into_iter().flatten()
    });
    output::columns(&rows.collect::<Vec<_>>())
}
