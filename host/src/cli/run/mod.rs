//! `vmlab run`: the scenarios, on one or more kernels.

use std::io::IsTerminal as _;
use std::num::NonZero;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{Signal, SignalKind, signal};
use vmlab_protocol::catalogue::ScenarioSpec;

pub use args::RunArgs;

use super::{Context, Failure};
use crate::error::chain;
use crate::event::LabEvent;
use crate::exit;
use crate::image::guest_init;
use crate::plan;
use crate::report::ReportSpec;
use crate::runner::emitter::Emitter;
use crate::runner::lab::{Lab, Options, Prepared, Stop};
use crate::runner::{dispatcher, exit_code};
use crate::vm::qemu;

mod args;
mod prepare;
mod sink;

pub(super) async fn run(args: RunArgs, context: &Context) -> Result<u8, Failure> {
    // What can be told without touching anything is told first.
    let catalogue = guest_init::catalogue().map_err(|error| Failure::lab(chain(&error)))?;
    let scenarios = plan::select(catalogue, &args.filters)
        .map_err(|error| Failure::with_code(exit::NOTHING_RAN, error))?;
    let mut interrupts = Interrupts::listen()?;
    let prepared = tokio::select! {
        prepared = prepare::prepare(&args, context, &scenarios) => prepared?,
        () = interrupts.next() => return Err(Failure::with_code(exit::INTERRUPTED, "interrupted before anything ran")),
    };
    let lab = open_lab(&args, context, &scenarios, &prepared).await?;
    announce(&lab, &args, &scenarios, &prepared);
    let limit = args.timeout.map(|seconds| Duration::from_secs(u64::from(seconds)));
    let running = dispatcher::run(&lab, prepared.kernels, &scenarios);
    watch(&lab, running, limit, interrupts).await;
    finish(&lab)
}
