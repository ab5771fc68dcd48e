//! Prepares a run: finds QEMU, the kernels and the accelerator, and builds the images.

use std::collections::BTreeMap;
use std::rc::Rc;

use tracing::{debug, info};
use vmlab_events::job::JobSpec;
use vmlab_events::progress::Progress;
use vmlab_events::schedule::Isolation;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::LackingDrivers;
use vmlab_image::recipe::Recipe;
use vmlab_image::{Image, ImageSpec, guest_init};
use vmlab_kernel::catalogue::Catalogue;
use vmlab_kernel::unpack::{self, BootFile};
use vmlab_kernel::{Kernel, KernelError, KernelSource, needs};
use vmlab_qemu::accel::{self, AccelChoice};
use vmlab_qemu::argv::Machine;
use vmlab_qemu::qemu::{self, Qemu};
use vmlab_qemu::quirks;
use vmlab_qemu::template;
use vmlab_store::cache::{self, Limit, Room};
use vmlab_store::dirs::Dirs;
use vmlab_store::warnings::CacheWarnings;

use crate::cache::KINDS;
use crate::error::RunError;
use crate::laps::Laps;
use crate::limits::Limits;
use crate::plan::{Append, Plan};
use crate::target::{BootableTarget, Target};

/// KUnit is on, whatever its config says (since 6.1). It runs its suites at boot, as kunit.py has it do: code that some
/// suites test is gone later (`__init`). The console shows which suite runs, in messages of level 6 (`KERN_INFO`).
const KUNIT: &str = "kunit.enable=1 loglevel=7";

/// Everything that a run needs.
pub(crate) struct Ready {
    pub(crate) qemu: Qemu,
    pub(crate) accelerator: AccelChoice,
    pub(crate) targets: Vec<BootableTarget>,
    /// The jobs of the plan, with the KUnit suites of the kernels.
    pub(crate) jobs: Vec<JobSpec>,
    /// Notices about the cache.
    pub(crate) notices: Vec<String>,
}

/// Finds or creates everything that the plan needs. Each step is a lap.
pub(crate) async fn prepare(
    plan: &Plan,
    dirs: &Dirs,
    cache_limit: Limit,
    progress: &dyn Progress,
    laps: &mut Laps,
) -> Result<Ready, RunError> {
    template::remove_drafts(&dirs.cache);
    let qemu = qemu::find(plan.qemu.as_deref(), &dirs.cache).await?;
    debug!(path = ?qemu.path, version = %qemu.version, "QEMU");
    laps.lap("prepare-qemu");
    let kernels = obtain(&sources(plan)?, plan, dirs, progress).await?;
    laps.lap("prepare-kernels");
    let jobs = plan.jobs_with(&kernels.iter().flat_map(|kernel| kernel.suites.iter().flatten()).collect())?;
    progress.step("choosing the accelerator");
    let first = kernels.first().ok_or(RunError::NoKernel)?;
    let accelerator = accel::choose(plan.accelerator, &qemu, &first.path, &dirs.cache).await?;
    info!(why = accelerator.explanation(), "accelerator");
    for quirk in quirks::in_force(accelerator.accelerator, qemu.version) {
        info!(name = quirk.name, work_around = quirk.workaround.text(), fault = quirk.fault, "emulator quirk");
    }
    laps.lap("prepare-accelerator");
    let machine = Machine { accelerator: accelerator.accelerator, memory_mib: plan.memory_mib, cpus: plan.cpus };
    let limits = Limits::new(machine.accelerator, plan.limits);
    let mut targets = Vec::with_capacity(kernels.len());
    let mut warnings = CacheWarnings::default();
    for kernel in kernels {
        progress.step(&format!("{}: building the guest image", kernel.label));
        let (image, cached) = build_image(&kernel, dirs, &plan.extra_modules)?;
        warnings.add(cached);
        progress.step(&format!("{}: unpacking the kernel", kernel.label));
        let (boot_file, cached) = boot_file(&kernel, machine, dirs).await?;
        warnings.add(cached);
        let append = append(plan, &kernel)?;
        let (id, lacking) = (TargetId::new(kernel.label.clone()), lacking(&kernel, &image));
        let target = Rc::new(Target { id, kernel, machine, append, lacking, limits });
        targets.push(BootableTarget { target, boot_file, image });
    }
    let mut notices = warnings.notices();
    notices.extend(qemu.watch());
    if warnings.grown {
        notices.extend(make_room(plan.isolation, dirs, cache_limit).await?);
    }
    laps.lap("prepare-images");
    progress.done();
    Ok(Ready { qemu, accelerator, targets, jobs, notices })
}

/// What is added to the command line of a kernel.
fn append(plan: &Plan, kernel: &Kernel) -> Result<Option<String>, RunError> {
    let users = plan.append.as_deref();
    if plan.suites.is_none() || kernel.suites.as_ref().is_none_or(Vec::is_empty) {
        return Ok(users.map(str::to_owned));
    }
    let append: Append = [Some(KUNIT), users].into_iter().flatten().collect::<Vec<_>>().join(" ").parse()?;
    Ok(append.as_deref().map(str::to_owned))
}

/// Why the kernel probably has no driver for the control port.
fn lacking(kernel: &Kernel, image: &Image) -> Option<LackingDrivers> {
    if !image.absent.is_empty() {
        return Some(LackingDrivers::Modules { names: image.absent.clone() });
    }
    needs::unknown_modules(kernel).map(|looked_in| LackingDrivers::Directory { looked_in })
}

/// Keeps the cache within its limit. The entries that this run has prepared are in use and stay.
async fn make_room(isolation: Isolation, dirs: &Dirs, limit: Limit) -> Result<Vec<String>, RunError> {
    let dir = dirs.cache.clone();
    let Room { notices, over } = in_background(move || cache::keep_within(&dir, &KINDS, limit)).await?;
    // A run with forks does this again after making a template, and reports an exceeded limit then.
    let over = over.filter(|_| isolation != Isolation::Fork);
    Ok(notices.into_iter().chain(over).collect())
}

/// Runs long work in another thread, so that the user can interrupt it.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work).await.map_err(RunError::Task)
}

/// The plan's kernels without duplicates; the catalogue's default if there are none.
fn sources(plan: &Plan) -> Result<Vec<KernelSource>, RunError> {
    let mut sources: Vec<KernelSource> = Vec::new();
    for source in &plan.kernels {
        if !sources.contains(source) {
            sources.push(source.clone());
        }
    }
    if sources.is_empty() {
        sources.push(Catalogue::default_source()?);
    }
    Ok(sources)
}

async fn obtain(
    sources: &[KernelSource],
    plan: &Plan,
    dirs: &Dirs,
    progress: &dyn Progress,
) -> Result<Vec<Kernel>, RunError> {
    let mut kernels = Vec::with_capacity(sources.len());
    for source in sources {
        // One after the other, because they come from the same mirror.
        let mut kernel = vmlab_kernel::obtain(source, dirs, plan.obtain, progress).await?;
        needs::check(&kernel).map_err(KernelError::from)?;
        kernel.notices.extend(needs::unknown(&kernel));
        info!(kernel = kernel.label, release = kernel.release, path = ?kernel.path, "kernel");
        kernels.push(kernel);
    }
    Ok(kernels)
}

fn build_image(
    kernel: &Kernel,
    dirs: &Dirs,
    extra_modules: &BTreeMap<String, Vec<u8>>,
) -> Result<(Image, CacheWarnings), RunError> {
    // The image does not depend on the selected jobs; nor does a template, whose key contains the image's hash.
    let catalogue = guest_init::catalogue()?;
    let wanted = catalogue.iter().flat_map(|spec| spec.modules.iter().map(String::as_str)).collect();
    let recipe = Recipe::scenarios()?;
    let spec = ImageSpec {
        recipe: &recipe,
        init: guest_init::init_binary(),
        modules: kernel.modules.found(),
        scenario_modules: wanted,
        extra_modules,
        cache: &dirs.cache,
    };
    vmlab_image::build(&spec).map_err(|source| RunError::Image { kernel: kernel.label.clone(), source })
}

async fn boot_file(kernel: &Kernel, machine: Machine, dirs: &Dirs) -> Result<(BootFile, CacheWarnings), RunError> {
    let (kernel, cache) = (kernel.clone(), dirs.cache.clone());
    in_background(move || unpack::boot_file(&kernel, &machine, &cache)).await
}
