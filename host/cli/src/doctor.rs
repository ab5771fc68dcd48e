//! `vmlab doctor`: what is missing on this machine, and the command that mends it.

use std::path::PathBuf;

use super::{Context, Failure, output};
use vmlab_events::clean;
use vmlab_events::error::chain;
use vmlab_events::exit;
use vmlab_events::progress::Progress as _;
use vmlab_report::progress::TerminalProgress;
use vmlab_report::screen::Screen;
use vmlab_report::style::Verbosity;
use vmlab_setup::{Question, Scope, Survey, survey};

/// Says what is missing on this machine, and the command that mends it
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 where all that is needed is there, 69 where something is missing.

Examples:
  vmlab doctor          look at this machine
  vmlab doctor --fix    install what is missing with the system's package manager, then look
  vmlab doctor --json   for programs")]
pub struct Args {
    /// Install what is missing with the system's package manager first, as root or through sudo
    #[arg(long)]
    fix: bool,
    /// Count as needed what the tests of vmlab's own source use, too
    #[arg(long)]
    tests: bool,
    /// Write one JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// The QEMU to look at, instead of $VMLAB_QEMU or the one in PATH
    #[arg(long, value_name = "PROGRAM")]
    qemu: Option<PathBuf>,
    /// The kernel to try KVM with, instead of any that is at hand
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
}

/// Installs what a run needs and this machine does not have, after saying so.
pub(super) async fn set_up() -> Result<(), Failure> {
    install(Scope::Run).await
}

/// The package manager writes to standard error beside the steps, so these are plain lines, on a terminal too: a live
/// line would be torn by it, and gone at the end.
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
    let scope = if args.tests { Scope::Tests } else { Scope::Run };
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

/// A line for each check, and one more for the command that mends it.
fn lines(found: &Survey) -> String {
    let rows = found.checks.iter().flat_map(|check| {
        let row = [check.status.to_string(), check.name.to_owned(), clean::line(&check.detail)];
        let remedy = check.remedy.as_ref().map(|remedy| [String::new(), String::new(), format!("-> {remedy}")]);
        [Some(row), remedy].into_iter().flatten()
    });
    output::columns(&rows.collect::<Vec<_>>())
}
