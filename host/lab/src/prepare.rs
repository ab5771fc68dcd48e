//! Prepares a run: finds QEMU, the kernels and the accelerator, and builds the images.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use tracing::{debug, info};
use vmlab_events::job::JobSpec;
use vmlab_events::progress::Progress;
use vmlab_events::schedule::Isolation;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::LackingDrivers;
use vmlab_files::View;
use vmlab_image::recipe::{Part, Recipe};
use vmlab_image::{Image, ImageSpec, guest_init};
use vmlab_kernel::catalogue::Catalogue;
use vmlab_kernel::indexes::{self, ModuleIndex};
use vmlab_kernel::unpack::{self, BootFile};
use vmlab_kernel::{Kernel, KernelError, KernelSource, device_nodes, needs};
use vmlab_protocol::command::DeviceNode;
use vmlab_qemu::accel::{self, AccelChoice};
use vmlab_qemu::argv::Machine;
use vmlab_qemu::qemu::{self, Qemu};
use vmlab_qemu::quirks;
use vmlab_qemu::template;
use vmlab_qemu::worker;
use vmlab_store::cache::{self, Limit, Room};
use vmlab_store::dirs::Dirs;
use vmlab_store::warnings::CacheWarnings;

use crate::cache::KINDS;
use crate::command::FilesPlan;
use crate::error::RunError;
use crate::laps::Laps;
use crate::limits::Limits;
use crate::machine_plan::Disks;
use crate::plan::{Append, Plan};
use crate::target::{BootableTarget, Target};
use crate::variant::{Machines, Variant};

/// KUnit is on, whatever its config says (since 6.1). It runs its suites at boot, as kunit.py has it do: code that some
/// suites test is gone later (`__init`). The console shows which suite runs, in messages of level 6 (`KERN_INFO`).
const KUNIT: &str = "kunit.enable=1 loglevel=7";

/// The kernel is at the addresses of its symbols, so that a debugger finds them.
const UNMOVED: &str = "nokaslr";

/// Each boot executes the same instructions: the kernel draws neither its addresses nor its first random numbers from the
/// processor, and processes have the same memory layout, on which setns(2) into a time namespace depends (by 4 %, 6.12). RCU's
/// callbacks run in a thread (since 5.3), whose time the scheduler counts, and not in interrupts of the idle CPU. What an idle
/// kernel does all the time is switched off: collecting its counters, compaction, and statistics of memory (since 6.17; with
/// these, figures of `measure.destroy` differed by up to 6 % from block to block, 7.3). A kernel without one of these says so.
/// `vmlab.clock=instructions` tells PID 1 the unit of the guest's clock.
const MEASURING: &str = "nokaslr norandmaps random.trust_cpu=off rcutree.use_softirq=0 \
                         sysctl.vm.compaction_proactiveness=0 damon_stat.enabled=N vmlab.clock=instructions";

/// Processes have the same memory layout in both of two linked guests, also where these boot, so that one can move to the other.
const SAME_ADDRESSES: &str = "norandmaps";

/// Everything that a run needs.
pub(crate) struct Ready {
    pub(crate) qemu: Qemu,
    pub(crate) accelerator: AccelChoice,
    pub(crate) machines: Machines,
    /// Each kernel on each machine that a job needs. Targets of one kernel follow each other.
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
    for quirk in quirks::in_force(accelerator.accelerator, qemu.version, plan.cpus) {
        info!(name = quirk.name, work_around = quirk.workaround.text(), fault = quirk.fault, "emulator quirk");
    }
    laps.lap("prepare-accelerator");
    let disks = Rc::new(plan.machine.disks()?);
    let machines = Machines { accelerator: accelerator.accelerator, cpus: plan.cpus };
    let machine = Machine {
        files: plan.files().is_some(),
        network: plan.machine.network,
        nested: plan.machine.nested,
        nodes: plan.machine.nodes(plan.memory_mib)?,
        disks: disks.disks.clone(),
        ..Machine::bare(machines.accelerator, plan.memory_mib, plan.cpus)
    };
    let run = Preparation { plan, dirs, progress, jobs: &jobs, machines, machine, disks };
    let mut targets = Vec::with_capacity(kernels.len());
    let mut warnings = CacheWarnings::default();
    let mut notices = Vec::new();
    for kernel in kernels {
        targets.extend(run.targets(kernel, &mut warnings, &mut notices).await?);
    }
    notices.extend(warnings.notices());
    notices.extend(qemu.watch());
    if warnings.grown {
        notices.extend(make_room(plan.isolation, dirs, cache_limit).await?);
    }
    laps.lap("prepare-images");
    progress.done();
    Ok(Ready { qemu, accelerator, machines, targets, jobs, notices })
}

/// What the targets of a run have in common.
struct Preparation<'a> {
    plan: &'a Plan,
    dirs: &'a Dirs,
    progress: &'a dyn Progress,
    jobs: &'a [JobSpec],
    machines: Machines,
    /// The machine of jobs that need nothing special.
    machine: Machine,
    disks: Rc<Disks>,
}

impl Preparation<'_> {
    /// A kernel on each of the machines that the jobs need.
    async fn targets(
        &self,
        kernel: Kernel,
        warnings: &mut CacheWarnings,
        notices: &mut Vec<String>,
    ) -> Result<Vec<BootableTarget>, RunError> {
        let Self { plan, dirs, progress, jobs, machines, machine, disks } = self;
        plan.machine.check(machine.accelerator, &kernel)?;
        let (index, files) = match plan.files() {
            None => (None, None),
            Some(files) => {
                let (index, problems) = module_index(&kernel, dirs, warnings, *progress).await?;
                notices.extend(problems);
                let view = view(files, jobs, &kernel, index.as_ref())?;
                (index, Some(view))
            }
        };
        progress.step(&format!("{}: building the guest image", kernel.label));
        let lists = index.as_ref().map(|index| &index.path);
        let lists = lists.or(kernel.modules.found().map(|found| &found.path)).filter(|_| machine.files);
        let nodes = lists.map(|lists| device_nodes::of(lists)).unwrap_or_default();
        let mut parts = plan.machine.parts(machine.accelerator);
        parts.extend(machine.files.then_some(Part::HostFiles));
        let (image, cached) = build_image(&kernel, dirs, &plan.extra_modules, &parts, &nodes)?;
        warnings.add(cached);
        let limits = Limits::new(machine.accelerator, plan.limits);
        let limits = if plan.debugger { limits.without_end() } else { limits };
        let lacking = lacking(&kernel, &image);
        let mut targets = Vec::new();
        for variant in machines.of_jobs(jobs) {
            let Variant { counts_instructions, linked, cpus } = variant;
            // A kernel for one CPU boots with one, and the scenario's probe says so.
            let has_smp = kernel.config.as_ref().is_none_or(|config| config.enabled("CONFIG_SMP"));
            let cpus = if has_smp { cpus } else { cpus.min(plan.cpus) };
            let machine = Machine { counts_instructions, link: linked, cpus, ..machine.clone() };
            progress.step(&format!("{}: unpacking the kernel", kernel.label));
            let (boot_file, cached) = boot_file(&kernel, &machine, dirs).await?;
            warnings.add(cached);
            let target = Target {
                id: TargetId::new(kernel.label.clone()),
                kernel: kernel.clone(),
                machine,
                variant,
                append: append(plan, &kernel, variant)?,
                lacking: lacking.clone(),
                command: plan.command.as_ref().map(|plan| plan.command.clone()),
                files: files.clone(),
                limits,
                debugger: plan.debugger,
                _index: index.clone(),
                _disks: Rc::clone(disks),
            };
            targets.push(BootableTarget { target: Rc::new(target), boot_file, image: image.clone() });
        }
        Ok(targets)
    }
}

/// What is added to the command line of a kernel.
fn append(plan: &Plan, kernel: &Kernel, variant: Variant) -> Result<Option<String>, RunError> {
    let has_suites = plan.suites.is_some() && kernel.suites.as_ref().is_some_and(|suites| !suites.is_empty());
    let own = [
        (has_suites, KUNIT),
        (plan.debugger, UNMOVED),
        (variant.counts_instructions, MEASURING),
        (variant.linked, SAME_ADDRESSES),
    ];
    let own = own.into_iter().filter_map(|(wanted, words)| wanted.then_some(words));
    let words: Vec<_> = own.chain(plan.append.as_deref()).collect();
    if words.is_empty() {
        return Ok(None);
    }
    let append: Append = words.join(" ").parse()?;
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

/// The index of the kernel's modules, if their directory lacks one; or the reason why it cannot be made. A command runs without it,
/// too.
async fn module_index(
    kernel: &Kernel,
    dirs: &Dirs,
    warnings: &mut CacheWarnings,
    progress: &dyn Progress,
) -> Result<(Option<ModuleIndex>, Option<String>), RunError> {
    let Some(modules) = kernel.modules.found() else { return Ok((None, None)) };
    progress.step(&format!("{}: reading the kernel's modules", kernel.label));
    let (modules, release, cache) = (modules.clone(), kernel.release.clone(), dirs.cache.clone());
    let work = move |stopped: &AtomicBool| {
        let mut warnings = CacheWarnings::default();
        (indexes::obtain(&modules, &release, &cache, stopped, &mut warnings), warnings)
    };
    let (index, cached) = worker::run(work).await.map_err(RunError::Task)?;
    warnings.add(cached);
    Ok(match index {
        Ok(index) => (index, None),
        Err(error) => (None, Some(format!("{}: {error}", kernel.label))),
    })
}

/// What the guests of a kernel see of the host's files: also the kernel's own modules and configuration, where programs look
/// for them.
fn view(files: &FilesPlan, jobs: &[JobSpec], kernel: &Kernel, index: Option<&ModuleIndex>) -> Result<View, RunError> {
    if let Some(config) = &kernel.config {
        let needed = jobs.iter().filter(|spec| matches!(spec, JobSpec::Command(_)));
        let needed = needed.flat_map(|spec| spec.requirement().config);
        let symbols: Vec<_> = needed.filter(|symbol| !config.enabled(symbol)).collect();
        if !symbols.is_empty() {
            return Err(RunError::NoHostFiles { kernel: kernel.label.clone(), symbols });
        }
    }
    // Where /lib is a symbolic link, the files are behind it.
    let lib = fs::canonicalize("/lib").unwrap_or_else(|_| PathBuf::from("/lib"));
    let place = lib.join("modules").join(&kernel.release);
    let modules = kernel.modules.found().map(|found| found.path.clone());
    let modules = index.map(|index| index.path.clone()).into_iter().chain(modules);
    let modules = modules.map(|dir| (place.clone(), dir));
    // Where programs look for the configuration of the kernel that runs, beside /proc/config.gz.
    let places = [Path::new("/boot").join(format!("config-{}", kernel.release)), place.join("config")];
    let config =
        kernel.config_file.iter().flat_map(|file| places.iter().map(move |place| (place.clone(), file.clone())));
    Ok(files.view(&modules.chain(config).collect::<Vec<_>>())?)
}

fn build_image(
    kernel: &Kernel,
    dirs: &Dirs,
    extra_modules: &BTreeMap<String, Vec<u8>>,
    parts: &[Part],
    nodes: &[DeviceNode],
) -> Result<(Image, CacheWarnings), RunError> {
    // The image does not depend on the selected jobs; nor does a template, whose key contains the image's hash.
    let all = guest_init::catalogue()?.iter().chain(guest_init::measures()?);
    let wanted = all.flat_map(|spec| spec.modules.iter().map(String::as_str)).collect();
    let recipe = Recipe::with(parts)?;
    let spec = ImageSpec {
        recipe: &recipe,
        init: guest_init::init_binary(),
        nodes,
        modules: kernel.modules.found(),
        scenario_modules: wanted,
        extra_modules,
        cache: &dirs.cache,
    };
    vmlab_image::build(&spec).map_err(|source| RunError::Image { kernel: kernel.label.clone(), source })
}

async fn boot_file(kernel: &Kernel, machine: &Machine, dirs: &Dirs) -> Result<(BootFile, CacheWarnings), RunError> {
    let (kernel, machine, cache) = (kernel.clone(), machine.clone(), dirs.cache.clone());
    in_background(move || unpack::boot_file(&kernel, &machine, &cache)).await
}
