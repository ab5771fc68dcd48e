//! `vmlab run --dry-run`: what would run, on what, and from where. Nothing is fetched, started or recorded.

use vmlab_events::error::chain;
use vmlab_events::exit;
use vmlab_events::progress::Silent;
use vmlab_events::text;
use vmlab_kernel::catalogue::Catalogue;
use vmlab_kernel::debian::DebianError;
use vmlab_kernel::fetched::Lookup;
use vmlab_kernel::{FetchPolicy, How, KernelError, KernelSource, debian};
use vmlab_lab::Plan;
use vmlab_qemu::accel::{self, Wanted};
use vmlab_qemu::qemu::{self, Qemu};
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
    let mut rows = vec![
        row("scenarios", &format!("{}, {}", text::count(plan.jobs.len(), "scenario"), plan.isolation.name())),
        row("machine", &format!("{} MiB, {}", plan.memory_mib, text::count(plan.cpus as usize, "CPU"))),
        row("QEMU", &format!("{} at {}", qemu.version, qemu.path.display())),
        row("accelerator", &accelerator(plan.accelerator, &qemu, dirs)),
    ];
    for source in &kernels {
        rows.push(row("kernel", &format!("{source}: {}", kernel(source, plan, dirs).await?)));
    }
    let record = if keeps_record { record::runs_dir(dirs).display().to_string() } else { "none".to_owned() };
    rows.push(row("record", &record));
    rows.extend(reports.iter().map(|spec| row("report", &format!("{} to {}", spec.format, spec.destination))));
    let names: String = plan.jobs.iter().map(|job| format!("  {}\n", job.name())).collect();
    output::print(&format!("would run\n{names}\n{}", output::columns(&rows)))?;
    Ok(exit::OK)
}

fn row(name: &str, text: &str) -> [String; 2] {
    [name.to_owned(), vmlab_events::clean::line(text)]
}

fn accelerator(wanted: Wanted, qemu: &Qemu, dirs: &Dirs) -> String {
    match (wanted, accel::known(qemu, &dirs.cache)) {
        (Wanted::Tcg, _) => "tcg, as asked".to_owned(),
        (Wanted::Auto, Some(choice)) => choice.explanation(),
        (Wanted::Kvm, Some(choice)) => format!("kvm, as asked; known here: {}", choice.explanation()),
        (Wanted::Auto | Wanted::Kvm, None) => "kvm, if a kernel boots under it, which is tried first".to_owned(),
    }
}

/// Where a kernel comes from.
async fn kernel(source: &KernelSource, plan: &Plan, dirs: &Dirs) -> Result<String, Failure> {
    if let (KernelSource::Debian(debian), true) = (source, plan.obtain.fetch != FetchPolicy::Offline) {
        match debian::cached(debian, dirs).map_err(Failure::lab)? {
            Lookup::Missing => return Ok("not in the cache, would be fetched".to_owned()),
            Lookup::Damaged(damage) => return Ok(format!("would be fetched again: {damage}")),
            Lookup::Found(_) => {}
        }
    }
    let how = How { build: false, ..FetchPolicy::Offline.into() };
    let kernel = match vmlab_kernel::obtain(source, dirs, how, &Silent).await {
        Err(KernelError::NotBuilt { .. }) => return Ok("not in the cache, would be built".to_owned()),
        Err(KernelError::Debian(DebianError::NotCached { .. })) if is_order(source, plan) => {
            return Ok("not in the cache, its source would be fetched and built".to_owned());
        }
        obtained => obtained?,
    };
    Ok(format!("{} from {}", kernel.release, kernel.path.display()))
}

/// Whether a kernel is built from source that may be fetched.
fn is_order(source: &KernelSource, plan: &Plan) -> bool {
    matches!(source, KernelSource::Order(_)) && plan.obtain.fetch != FetchPolicy::Offline
}
