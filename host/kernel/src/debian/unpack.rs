//! Unpacks downloaded packages and assembles the directory that becomes an entry of the store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::complaint::{self, Complaint};
use super::error::DebianError;
use super::system::{self, Job};
use crate::depmod::{self, DepmodError, Lacking};
use crate::fetched::{CONFIG, KERNEL, modules_below};
use crate::file;
use vmlab_qemu::worker;
use vmlab_store::integrity::Integrity;
use vmlab_store::{CacheError, atomic};

/// Unpacks all packages of a directory into one tree.
pub(super) async fn unpack(job: Job<'_>, debs: &Path, into: &Path) -> Result<(), DebianError> {
    atomic::create_dir(into)?;
    let listing: io::Result<Vec<PathBuf>> =
        fs::read_dir(debs).and_then(|files| files.map(|file| Ok(file?.path())).collect());
    let mut files = listing.map_err(CacheError::on("list", debs))?;
    files.sort();
    for deb in files {
        let package = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
        job.step(&format!("unpacking {package}"));
        let mut command = job.system.command("dpkg-deb");
        command.arg("-x").arg(&deb).arg(into).env("TMPDIR", debs);
        let finished = system::run(command, |_| {}).await?;
        if !finished.status.success() {
            let label = job.label.to_owned();
            return Err(match complaint::read(&finished.stderr) {
                Complaint::Full => DebianError::Full { label, dir: job.cache.to_owned() },
                Complaint::Other(detail) | Complaint::Network(detail) | Complaint::Signature(detail) => {
                    DebianError::Unpack { label, package, detail }
                }
                Complaint::MissingSuites(suites) => DebianError::Unpack { label, package, detail: suites.join(" ") },
            });
        }
    }
    Ok(())
}

/// Moves the files that an entry consists of from an unpacked tree to `prepared`, makes `modules.dep` where the packages
/// bring none, and returns the kernel's release and the list of the files.
pub(super) async fn assemble(
    label: &str,
    tree: PathBuf,
    prepared: PathBuf,
) -> Result<(String, Integrity), DebianError> {
    let owned_label = label.to_owned();
    // Reading a thousand modules takes seconds, in which signals must be handled.
    let result = worker::run(move |stopped| assemble_now(&owned_label, &tree, &prepared, stopped)).await;
    result.map_err(|error| DebianError::Worker { label: label.to_owned(), detail: error.to_string() })?
}

fn assemble_now(
    label: &str,
    tree: &Path,
    prepared: &Path,
    stopped: &AtomicBool,
) -> Result<(String, Integrity), DebianError> {
    let incomplete = |what| DebianError::Incomplete { label: label.to_owned(), what };
    let kernel = find_kernel(tree)?.ok_or_else(|| incomplete("kernel"))?;
    let release = file::inspect(&kernel).map_err(DebianError::File)?.image.release;
    let module_dirs = ["usr/lib/modules", "lib/modules"].map(|dir| tree.join(dir).join(&release));
    let modules = module_dirs.iter().find(|dir| dir.join("kernel").is_dir()).ok_or_else(|| incomplete("modules"))?;
    let config = [tree.join(format!("boot/config-{release}")), modules.join("config")]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| incomplete("config"))?;

    let module_dir = prepared.join(modules_below(&release));
    atomic::create_dir(module_dir.parent().unwrap_or(prepared))?;
    let move_to = |from: &Path, to: &Path| fs::rename(from, to).map_err(CacheError::on("move", from));
    move_to(&kernel, &prepared.join(KERNEL))?;
    move_to(&config, &prepared.join(CONFIG))?;
    move_to(modules, &module_dir)?;

    let list = module_dir.join("modules.dep");
    if !list.is_file() {
        let text = depmod::modules_dep(&module_dir, Lacking::Refuse, stopped)
            .map_err(|what| DebianError::Depmod { label: label.to_owned(), what })?;
        atomic::write(&list, text.as_bytes())?;
    }
    let files = Integrity::of_tree(prepared, stopped)?
        .ok_or_else(|| DebianError::Depmod { label: label.to_owned(), what: DepmodError::Cancelled })?;
    Ok((release, files))
}

/// The kernel in an unpacked tree: `boot/vmlinuz-RELEASE`, or from Linux 7.0 on `usr/lib/modules/RELEASE/vmlinuz`.
fn find_kernel(tree: &Path) -> Result<Option<PathBuf>, CacheError> {
    let in_boot = list(&tree.join("boot"))?
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    let mut with_modules = list(&tree.join("usr/lib/modules"))?;
    with_modules.extend(list(&tree.join("lib/modules"))?);
    let with_modules = with_modules.into_iter().map(|dir| dir.join("vmlinuz"));
    // A link in a package could lead out of the tree.
    let is_regular = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    Ok(in_boot.chain(with_modules).find(is_regular))
}

/// The sorted contents of a directory; empty if it does not exist.
fn list(dir: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let listing: io::Result<Vec<PathBuf>> = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.and_then(|files| files.map(|file| Ok(file?.path())).collect()),
    };
    let mut paths = listing.map_err(CacheError::on("list", dir))?;
    paths.sort();
    Ok(paths)
}
