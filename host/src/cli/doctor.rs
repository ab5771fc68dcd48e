//! `vmlab doctor`: what is missing on this machine, and the command that mends it.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Context, Failure};
use crate::error::chain;
use crate::exit;
use crate::progress::Progress;
use crate::setup;
use crate::setup::need::Scope;
use crate::setup::survey::{Question, Survey, survey};

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
pub(super) async fn set_up(progress: &dyn Progress) -> Result<(), Failure> {
    install(Scope::Run, progress).await
}

async fn install(scope: Scope, progress: &dyn Progress) -> Result<(), Failure> {
    let installed = setup::install_missing(scope, progress).await.map_err(|error| Failure::lab(chain(&error)))?;
    if installed.is_empty() {
        progress.step("no package is missing");
    }
    progress.done();
    Ok(())
}

pub(super) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let scope = if args.tests { Scope::Tests } else { Scope::Run };
    if args.fix {
        install(scope, &super::progress()).await?;
    }
    let (qemu, kernel) = (args.qemu.as_deref(), args.kernel.as_deref());
    let found = survey(&Question { dirs: &context.dirs, qemu, kernel, scope }).await;
    show(&found, args.json).map_err(|error| Failure::lab(format!("cannot write what was found: {error}")))?;
    Ok(if found.fit { exit::OK } else { exit::LAB })
}

fn show(found: &Survey, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, found)?;
        return writeln!(out);
    }
    let width = found.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for check in &found.checks {
        writeln!(out, "{:7}  {:width$}  {}", check.status, check.name, check.detail)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "{:7}  {:width$}  -> {remedy}", "", "")?;
        }
    }
    out.flush()
}
