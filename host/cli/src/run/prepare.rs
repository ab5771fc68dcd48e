//! Everything that is had before the first guest starts: QEMU, kernels, accelerator, images.

use std::collections::BTreeMap;
use std::fs;

use super::args::RunArgs;
use crate::{Context, Failure};
use vmlab_events::error::chain;
use vmlab_events::progress::Progress;
use vmlab_events::schedule::Isolation;
use vmlab_image::recipe::Recipe;
use vmlab_image::{self, Image, ImageSpec, guest_init};
use vmlab_kernel::catalogue::Catalogue;
use vmlab_kernel::unpack::{self, BootFile};
use vmlab_kernel::{self, FetchPolicy, Kernel, KernelSource};
use vmlab_lab::cache::KINDS;
use vmlab_lab::lab::Prepared;
use vmlab_lab::limits::Limits;
use vmlab_lab::phases::Laps;
use vmlab_qemu::accel::{self, AccelChoice};
use vmlab_qemu::argv::{self, Machine};
use vmlab_qemu::qemu::{self, Qemu};
use vmlab_store::cache::{self, Limit, Room};
use vmlab_store::warnings::CacheWarnings;

/// What a run needs, found or made.
pub(super) struct Ready {
    pub(super) qemu: Qemu,
    pub(super) accelerator: AccelChoice,
    pub(super) kernels: Vec<Prepared>,
    /// About the cache, for the user.
    pub(super) notices: Vec<String>,
}

/// Each step is a lap.
pub(super) async fn prepare(
    args: &RunArgs,
    context: &Context,
    cache_limit: Limit,
    progress: &dyn Progress,
    laps: &mut Laps,
) -> Result<Ready, Failure> {
    check_append(args.append.as_deref().unwrap_or_default())?;
    let qemu =
        qemu::find(args.qemu.as_deref(), &context.dirs.cache).await.map_err(|error| Failure::lab(chain(&error)))?;
    laps.lap("prepare-qemu");
    let kernels = obtain(&sources(args)?, args, context, progress).await?;
    laps.lap("prepare-kernels");
    progress.step("choosing the accelerator");
    let accelerator = match kernels.first() {
        None => return Err(Failure::usage("no kernel was named")),
        Some(first) => {
            accel::choose(args.accel.into(), &qemu, &first.path, &context.dirs.cache).await.map_err(Failure::lab)?
        }
    };
    laps.lap("prepare-accelerator");
    let machine = Machine { accelerator: accelerator.accelerator, memory_mib: args.memory, cpus: args.cpus };
    let limits = Limits::new(machine.accelerator, args.limits());
    let extra = extra_modules(args)?;
    let mut prepared = Vec::with_capacity(kernels.len());
    let mut warnings = CacheWarnings::default();
    for kernel in kernels {
        progress.step(&format!("{}: building the guest image", kernel.label));
        let (image, of_image) = build_image(&kernel, context, &extra)?;
        warnings.add(of_image);
        let (boot_file, of_boot_file) = boot_file(&kernel, machine, context, progress).await?;
        warnings.add(of_boot_file);
        prepared.push(Prepared { kernel, boot_file, image, machine, limits });
    }
    let mut notices = warnings.notices();
    if warnings.grown {
        notices.extend(make_room(args, context, cache_limit).await?);
    }
    laps.lap("prepare-images");
    progress.done();
    Ok(Ready { qemu, accelerator, kernels: prepared, notices })
}

/// Keeps the cache within its limit. All that this run has prepared has a lease, and stays.
async fn make_room(args: &RunArgs, context: &Context, limit: Limit) -> Result<Vec<String>, Failure> {
    let dir = context.dirs.cache.clone();
    let Room { notices, over } = in_background(move || cache::keep_within(&dir, &KINDS, limit)).await?;
    // Where templates are made, room is made once more, and what is still too much is told of then.
    let over = over.filter(|_| Isolation::from(args.isolation) != Isolation::Fork);
    Ok(notices.into_iter().chain(over).collect())
}

/// In a thread of its own, for what takes a while, in which the user may want to end it.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::lab(format!("a fault in vmlab itself: {error}")))
}

fn check_append(words: &str) -> Result<(), Failure> {
    let (length, limit) = (argv::command_line_bytes(words), argv::COMMAND_LINE_LIMIT);
    if length > limit {
        return Err(Failure::usage(format!(
            "the kernel's command line would have {length} bytes with --append, and x86 kernels take {limit}; leave some words away"
        )));
    }
    if words.contains(['\0', '\n']) {
        return Err(Failure::usage("--append holds a line break or a NUL, which no kernel's command line can have"));
    }
    if let Some(word) = argv::hushing_word(words) {
        return Err(Failure::usage(format!(
            "--append has `{word}`, by which a warning of the kernel's could be missed, and a verdict needs them; leave it out"
        )));
    }
    Ok(())
}

/// The kernels that were named, each once, in that order; the catalogue's default where none was.
fn sources(args: &RunArgs) -> Result<Vec<KernelSource>, Failure> {
    let mut sources: Vec<KernelSource> = Vec::new();
    for source in &args.kernels {
        if !sources.contains(source) {
            sources.push(source.clone());
        }
    }
    if sources.is_empty() {
        sources.push(Catalogue::default_source().map_err(Failure::lab)?);
    }
    Ok(sources)
}

async fn obtain(
    sources: &[KernelSource],
    args: &RunArgs,
    context: &Context,
    progress: &dyn Progress,
) -> Result<Vec<Kernel>, Failure> {
    let policy = if args.offline { FetchPolicy::Offline } else { FetchPolicy::CacheFirst };
    let mut kernels = Vec::with_capacity(sources.len());
    for source in sources {
        // One after the other: they come from one mirror over one line.
        kernels.push(vmlab_kernel::obtain(source, &context.dirs, policy, progress).await?);
    }
    Ok(kernels)
}

/// The modules of the fault suite, which has made them for the one kernel that it runs on.
fn extra_modules(args: &RunArgs) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let Some(dir) = &args.faults else { return Ok(BTreeMap::new()) };
    let read = || -> std::io::Result<_> {
        let mut modules = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
                modules.insert(name.to_owned(), fs::read(&path)?);
            }
        }
        Ok(modules)
    };
    read().map_err(|error| Failure::usage(format!("cannot read the modules in {}: {error}", dir.display())))
}

fn build_image(
    kernel: &Kernel,
    context: &Context,
    extra_modules: &BTreeMap<String, Vec<u8>>,
) -> Result<(Image, CacheWarnings), Failure> {
    // Whatever was picked, the image is the same, and so is what is kept by its hash.
    let catalogue = guest_init::catalogue().map_err(|error| Failure::lab(chain(&error)))?;
    let wanted = catalogue.iter().flat_map(|spec| spec.modules.iter().map(String::as_str)).collect();
    let recipe = Recipe::scenarios().map_err(Failure::lab)?;
    let spec = ImageSpec {
        recipe: &recipe,
        init: guest_init::init_binary(),
        modules: kernel.modules.as_deref(),
        scenario_modules: wanted,
        extra_modules,
        cache: &context.dirs.cache,
    };
    vmlab_image::build(&spec).map_err(|error| Failure::lab(format!("{}: {}", kernel.label, chain(&error))))
}

async fn boot_file(
    kernel: &Kernel,
    machine: Machine,
    context: &Context,
    progress: &dyn Progress,
) -> Result<(BootFile, CacheWarnings), Failure> {
    progress.step(&format!("{}: looking for the quickest way to boot it", kernel.label));
    let (kernel, cache) = (kernel.clone(), context.dirs.cache.clone());
    in_background(move || unpack::boot_file(&kernel, &machine, &cache)).await
}
