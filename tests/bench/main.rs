//! Benchmarks of whole runs and of their parts: `cargo bench -p vmlab-tests [-- SECTION...]`.
//!
//! Compared figures are measured alternately within one run, and the results are medians and ratios, because load on the
//! machine changes all figures together. Each line names its bar, if it has one. No figure makes a benchmark fail.

mod alone;
mod fork;
mod link;
mod memory;
mod pristine;
mod repeat;
mod restore;
mod series;
mod stress;
mod template;
mod vmlab;

use std::error::Error;

use clap::{Parser, ValueEnum};

/// The sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// A run of one scenario in a guest that thaws, in a fork that is restored, and in a guest that boots
    Fork,
    /// From QEMU's start with a saved state to the guest's first byte, and QEMU's own start and end
    Restore,
    /// What saving a template adds to the boot before it
    Template,
    /// A cold run of one scenario, and QEMU alone booting a busybox initramfs on the same kernel
    Alone,
    /// Freshly booted guests per second, on all processors
    Pristine,
    /// Memory of each further fork
    Memory,
    /// Throughput of the link, both ways
    Link,
    /// Whether the costs that `vmlab run --measure` reports repeat over boots: some minutes, and only if it is named
    Repeat,
    /// Many guests that thaw, in a row and beside signals, with every verdict checked: only if it is named
    Stress,
}

/// Benchmarks of vmlab on this machine. Fetches the kernel first if it is missing; keeps no run records.
#[derive(Debug, Parser)]
#[command(name = "cargo bench -p vmlab-tests --", no_binary_name = false)]
struct Args {
    /// What to measure [default: everything but `repeat` and `stress`]
    sections: Vec<Section>,

    /// Kernel, as `vmlab run --kernel` takes it
    #[arg(short, long, default_value = "debian:trixie")]
    kernel: String,

    /// Accelerator, as `vmlab run --accel` takes it
    #[arg(long, default_value = "auto")]
    accel: String,

    /// How often each figure is measured; measurements that take seconds are made a quarter as often
    #[arg(short, long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,

    /// Number of guests for the rate of guests per second, and for each half of `stress`
    #[arg(short, long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    guests: u32,

    /// Seed of the signals of `stress`
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// A statically linked busybox, for the guest without vmlab
    #[arg(long, default_value = "/bin/busybox")]
    busybox: std::path::PathBuf,

    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let lab = vmlab::Vmlab::new(&args.kernel, &args.accel);
    println!("{}", lab.warm_up()?);
    let few = args.rounds.div_ceil(4);
    let wanted = |section| args.sections.is_empty() || args.sections.contains(&section);
    if wanted(Section::Fork) {
        fork::measure(&lab, args.rounds, few)?;
    }
    if wanted(Section::Restore) {
        restore::measure(&lab, args.rounds)?;
    }
    if wanted(Section::Template) {
        template::measure(&lab, few)?;
    }
    if wanted(Section::Alone) {
        alone::measure(&lab, few, &args.busybox)?;
    }
    if wanted(Section::Pristine) {
        pristine::measure(&lab, args.guests)?;
    }
    if wanted(Section::Memory) {
        memory::measure(&lab)?;
    }
    if wanted(Section::Link) {
        link::measure(&lab)?;
    }
    if args.sections.contains(&Section::Repeat) {
        repeat::measure(&lab)?;
    }
    if args.sections.contains(&Section::Stress) {
        stress::measure(&lab, &args.kernel, args.guests, args.seed)?;
    }
    Ok(())
}
