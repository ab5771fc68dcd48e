//! `vmlab run --dry-run`: what would run, on what, and from where. Nothing is fetched, started or recorded.

use vmlab_events::error::chain;
use vmlab_events::exit;
use vmlab_events::job::JobSpec;
use vmlab_events::progress::Silent;
use vmlab_events::text;
use vmlab_events::verdict::LackingDrivers;
use vmlab_image::recipe::Recipe;
use vmlab_kernel::catalogue::Catalogue;
use vmlab_kernel::debian::DebianError;
use vmlab_kernel::fetched::Lookup;
use vmlab_kernel::{FetchPolicy, How, Kernel, KernelError, KernelSource, debian, needs};
use vmlab_lab::{Plan, RunError};
use vmlab_protocol::catalogue::MachineNeed;
use vmlab_qemu::accel::{self, AccelChoice, Wanted};
use vmlab_qemu::accelerator::Accelerator;
use vmlab_qemu::argv;
use vmlab_qemu::qemu;
use vmlab_report::ReportSpec;
use vmlab_store::dirs::Dirs;
use vmlab_store::record;

use crate::{Failure, output};

/// Prints what a run of the plan would do.
///
/// # Errors
/// The run could not start: QEMU or a kernel is missing.
pub(super) async fn show(plan: &Plan, reports: &[ReportSpec], keeps_record: bool, dirs: &Dirs) -> Result<u8, Failure> {
    let qemu = qemu::find(plan.qemu.as_deref(), &dirs.cache).await.map_err(|error| Failure::lab(chain(&error)))?;
    let kernels = match plan.kernels.as_slice() {
        [] => vec![Catalogue::default_source().map_err(Failure::lab)?],
        kernels => kernels.to_vec(),
    };
    let known = accel::known(&qemu, &dirs.cache);
    let mut rows = vec![
        row("machine", &format!("{} MiB, {}", plan.memory_mib, text::count(plan.cpus as usize, "CPU"))),
        row("QEMU", &format!("{} at {}", qemu.version, qemu.path.display())),
        row("accelerator", &accelerator(plan.accelerator, known.as_ref())),
    ];
    let tcg = argv::quirk_parameters(Accelerator::Tcg, qemu.version, plan.cpus);
    let uses_tcg = uses_tcg(plan.accelerator, known.as_ref());
    rows.push(row("command line", &parameters(&tcg, uses_tcg, plan.append.as_deref())));
    let mut suites = Some(Vec::new());
    for source in &kernels {
        let (of_kernel, found) = kernel(source, plan, dirs).await?;
        rows.extend(of_kernel);
        // A kernel that is still to be built may have any suites.
        suites = suites.zip(found).map(|(suites, kernel)| [suites, kernel.suites.unwrap_or_default()].concat());
    }
    let jobs = if let Some(known) = suites {
        plan.jobs_with(&known.iter().collect()).map_err(RunError::from)?
    } else {
        rows.extend(plan.suites.iter().map(|_| row("KUnit suites", "known when the kernels are built")));
        plan.jobs.clone()
    };
    rows.insert(0, row("jobs", &format!("{}, {}", text::jobs(&jobs), plan.isolation.name())));
    let record = if keeps_record { record::runs_dir(dirs).display().to_string() } else { "none".to_owned() };
    rows.push(row("record", &record));
    rows.extend(reports.iter().map(|spec| row("report", &format!("{} to {}", spec.format, spec.destination))));
    let names: String = jobs.iter().map(|job| format!("  {}{}\n", job.name(), needs_of(job))).collect();
    output::print(&format!("would run\n{names}\n{}", output::columns(&rows)))?;
    Ok(exit::OK)
}

/// What a job needs of the machine, in brackets.
fn needs_of(job: &JobSpec) -> String {
    match job.machine() {
        MachineNeed { measuring: true, .. } => " (on a machine that counts instructions, under TCG)".to_owned(),
        MachineNeed { peer: true, .. } => " (in two guests that are linked)".to_owned(),
        MachineNeed { cpus: 0 | 1, .. } => String::new(),
        MachineNeed { cpus, .. } => format!(" (on at least {cpus} CPUs)"),
    }
}

fn row(name: &str, text: &str) -> [String; 2] {
    [name.to_owned(), vmlab_events::clean::line(text)]
}

fn accelerator(wanted: Wanted, known: Option<&AccelChoice>) -> String {
    match (wanted, known) {
        (Wanted::Tcg, _) => "tcg, as asked".to_owned(),
        (Wanted::Auto, Some(choice)) => choice.explanation(),
        (Wanted::Kvm, Some(choice)) => format!("kvm, as asked; known here: {}", choice.explanation()),
        (Wanted::Auto | Wanted::Kvm, None) => "kvm, if a kernel boots under it, which is tried first".to_owned(),
    }
}

/// Whether guests would run under TCG; `None` if that is not known yet.
fn uses_tcg(wanted: Wanted, known: Option<&AccelChoice>) -> Option<bool> {
    match wanted {
        Wanted::Tcg => Some(true),
        Wanted::Kvm => Some(false),
        Wanted::Auto => known.map(|choice| choice.accelerator == Accelerator::Tcg),
    }
}

/// What the kernel's command line would have after vmlab's own parameters. `quirks` are the work-arounds under TCG.
fn parameters(quirks: &[&str], uses_tcg: Option<bool>, append: Option<&str>) -> String {
    let why = match uses_tcg {
        Some(true) => "work-around for a fault of TCG",
        None => "if guests run under TCG",
        Some(false) => "",
    };
    let mut words = vec!["vmlab's own parameters".to_owned()];
    words.extend(quirks.iter().filter(|_| !why.is_empty()).map(|parameter| format!("{parameter} ({why})")));
    words.extend(append.map(|append| format!("{append} (--append)")));
    words.join(", then ")
}

/// Where a kernel comes from, and what it lacks; and the kernel, if it is there.
async fn kernel(
    source: &KernelSource,
    plan: &Plan,
    dirs: &Dirs,
) -> Result<(Vec<[String; 2]>, Option<Kernel>), Failure> {
    let row_of = |text: &str| row("kernel", &format!("{source}: {text}"));
    let missing = |text: &str| (vec![row_of(text)], None);
    if let (KernelSource::Debian(debian), true) = (source, plan.obtain.fetch != FetchPolicy::Offline) {
        match debian::cached(debian, dirs).map_err(Failure::lab)? {
            Lookup::Missing => return Ok(missing("not in the cache, would be fetched")),
            Lookup::Damaged(damage) => return Ok(missing(&format!("would be fetched again: {damage}"))),
            Lookup::Found(_) => {}
        }
    }
    let how = How { build: false, ..FetchPolicy::Offline.into() };
    let kernel = match vmlab_kernel::obtain(source, dirs, how, &Silent).await {
        Err(KernelError::NotBuilt { .. }) => return Ok(missing("not in the cache, would be built")),
        Err(KernelError::Debian(DebianError::NotCached { .. })) if is_order(source, plan) => {
            return Ok(missing("not in the cache, its source would be fetched and built"));
        }
        obtained => obtained?,
    };
    needs::check(&kernel).map_err(KernelError::from)?;
    let mut rows = vec![row_of(&format!("{} from {}", kernel.release, kernel.path.display()))];
    rows.extend(kernel.notices.iter().map(|notice| row("note", notice)));
    rows.extend(lacking(&kernel)?.map(|lacking| row("note", &lacking)));
    Ok((rows, Some(kernel)))
}

/// The modules that a kernel lacks, or that it may lack, and without which it cannot answer.
fn lacking(kernel: &Kernel) -> Result<Option<String>, Failure> {
    let Some(modules) = kernel.modules.found() else { return Ok(needs::unknown(kernel)) };
    let recipe = Recipe::scenarios().map_err(RunError::from)?;
    let absent = vmlab_image::absent_modules(&recipe, modules)
        .map_err(|source| RunError::Image { kernel: kernel.label.clone(), source })?;
    let lacking = LackingDrivers::Modules { names: absent.clone() };
    Ok((!absent.is_empty()).then(|| format!("{}: {lacking}", kernel.label)))
}

/// Whether a kernel is built from source that may be fetched.
fn is_order(source: &KernelSource, plan: &Plan) -> bool {
    matches!(source, KernelSource::Order(_)) && plan.obtain.fetch != FetchPolicy::Offline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_tells_quirks_and_the_users_words() {
        for (uses_tcg, append, text) in [
            (
                Some(true),
                Some("nokaslr a=b"),
                "vmlab's own parameters, then no_timer_check (work-around for a fault of TCG), then nokaslr a=b (--append)",
            ),
            (Some(true), None, "vmlab's own parameters, then no_timer_check (work-around for a fault of TCG)"),
            (None, None, "vmlab's own parameters, then no_timer_check (if guests run under TCG)"),
            (Some(false), Some("x"), "vmlab's own parameters, then x (--append)"),
            (Some(false), None, "vmlab's own parameters"),
        ] {
            assert_eq!(parameters(&["no_timer_check"], uses_tcg, append), text);
        }
        assert_eq!(uses_tcg(Wanted::Tcg, None), Some(true));
        assert_eq!((uses_tcg(Wanted::Kvm, None), uses_tcg(Wanted::Auto, None)), (Some(false), None));
    }
}
