//! The checks of `vmlab doctor`.

use std::fmt;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use futures_util::future::LocalBoxFuture;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use super::Machine;
use super::need::{self, Need, Scope};
use vmlab_events::error::chain;
use vmlab_events::text;
use vmlab_kernel::fetched::{KernelStore, Lookup};
use vmlab_kernel::installed;
use vmlab_qemu::accel::{self, AccelChoice, Wanted};
use vmlab_qemu::accelerator::Accelerator;
use vmlab_qemu::qemu::{self, Qemu, QemuError, QemuVersion};
use vmlab_qemu::quirks;
use vmlab_store::dirs::Dirs;

/// The command that installs packages.
const FIX: &str = "vmlab doctor --fix";
/// Recommended free space for the cache, in MiB. A stock kernel with its modules takes about 150 MiB.
const CACHE_MIB: u64 = 1024;
/// Recommended free space for run records, in MiB. A run record takes about 1 MiB.
const STATE_MIB: u64 = 100;
/// The host memory that a guest of 256 MiB and its QEMU take, in MiB.
const GUEST_MIB: u64 = 400;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing to do.
    Ok,
    /// A limitation: all or most scenarios run nevertheless.
    Warn,
    /// Something required is missing.
    Missing,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Missing => "missing",
        })
    }
}

/// A check and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The subject of the check.
    pub name: &'static str,
    /// The result.
    pub status: Status,
    /// The details, in one line.
    pub detail: String,
    /// The command that mends it, or what else to do, where something can be done.
    pub remedy: Option<String>,
}

impl Check {
    fn new(name: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self { name, status, detail: detail.into(), remedy: None }
    }

    fn with_remedy(mut self, command: impl Into<String>) -> Self {
        self.remedy = Some(command.into());
        self
    }
}

/// The results of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Whether no check has the status [`Status::Missing`].
    pub fit: bool,
    /// The checks, in the order in which a run needs their subjects.
    pub checks: Vec<Check>,
}

impl Survey {
    fn of(checks: Vec<Check>) -> Self {
        Self { fit: checks.iter().all(|check| check.status != Status::Missing), checks }
    }
}

/// The parameters of a survey.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// vmlab's directories. The survey writes only the cached result of a KVM probe.
    pub dirs: &'a Dirs,
    /// The option `--qemu`.
    pub qemu: Option<&'a Path>,
    /// The kernel for the KVM probe; the default is any kernel in the cache or installed.
    pub kernel: Option<&'a Path>,
    /// Whose needs are checked.
    pub scope: Scope,
}

/// Checks this machine. Takes up to 2 s for a KVM probe, plus the time of `qemu --version`.
pub fn survey<'a>(question: &'a Question<'a>) -> LocalBoxFuture<'a, Survey> {
    Box::pin(async move {
        let machine = Machine::this();
        let qemu = qemu::find(question.qemu, &question.dirs.cache).await;
        let kernels = Kernels::find(&question.dirs.cache, &machine.root);
        let mut checks = vec![qemu_check(&qemu)];
        if let Ok(qemu) = &qemu {
            let (accelerator, check) = accelerator_check(question, qemu, &kernels).await;
            checks.push(check);
            checks.extend(accelerator.map(|accelerator| quirks_check(accelerator, qemu.version)));
        }
        let asked = need::ALL.iter().filter(|need| **need != need::QEMU && need.scope <= question.scope);
        checks.extend(asked.map(|need| need_check(&machine, need)));
        if question.scope < Scope::Build {
            checks.push(builds_check(&machine));
        }
        checks.push(directory_check("cache", &question.dirs.cache, CACHE_MIB, "XDG_CACHE_HOME"));
        checks.push(directory_check("run records", &question.dirs.state, STATE_MIB, "XDG_STATE_HOME"));
        checks.push(memory_check(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), cores()));
        checks.push(kernels_check(&kernels));
        Survey::of(checks)
    })
}

fn qemu_check(found: &Result<Qemu, QemuError>) -> Check {
    let name = need::QEMU.name;
    match found {
        Ok(qemu) => Check::new(name, Status::Ok, format!("{} at {}", qemu.version, qemu.path.display())),
        Err(error @ QemuError::Missing) => Check::new(name, Status::Missing, error.to_string()).with_remedy(FIX),
        Err(error) => Check::new(name, Status::Missing, chain(error)),
    }
}

/// The accelerator of guests, if it is known, and its check.
async fn accelerator_check(
    question: &Question<'_>,
    qemu: &Qemu,
    kernels: &Result<Kernels, String>,
) -> (Option<Accelerator>, Check) {
    let name = "accelerator";
    let cache = &question.dirs.cache;
    let at_hand = || kernels.as_ref().ok().and_then(Kernels::first);
    let kernel = question.kernel.or_else(at_hand);
    let choice = match (accel::known(qemu, cache), kernel) {
        (Some(known), _) => known,
        (None, Some(kernel)) => match accel::choose(Wanted::Auto, qemu, kernel, cache).await {
            Ok(choice) => choice,
            Err(error) => return (None, Check::new(name, Status::Warn, error.to_string())),
        },
        (None, None) => {
            let detail = "/dev/kvm can be opened; vmlab tests it with a boot as soon as there is a kernel";
            return (None, Check::new(name, Status::Ok, detail).with_remedy("vmlab kernel fetch"));
        }
    };
    (Some(choice.accelerator), judge(&choice, Device::find(Path::new("/dev/kvm"))))
}

/// The work-arounds that guests get for faults of this accelerator of this QEMU, with any number of CPUs. There is
/// nothing to do about them.
fn quirks_check(accelerator: Accelerator, version: QemuVersion) -> Check {
    let list: Vec<_> = quirks::in_force(accelerator, version, u32::MAX)
        .map(|quirk| match quirk.cpus {
            0 | 1 => quirk.workaround.text(),
            cpus => format!("{} (from {cpus} CPUs)", quirk.workaround.text()),
        })
        .collect();
    let detail = match list.len() {
        0 => "none needed".to_owned(),
        number => format!(
            "guests avoid {} of {} in QEMU {version}: {}; nothing need be done",
            text::count(number, "known fault"),
            accelerator.name(),
            list.join(", ")
        ),
    };
    Check::new("work-arounds", Status::Ok, detail)
}

/// The device of KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Device {
    Absent,
    Forbidden,
    Opens,
}

impl Device {
    fn find(path: &Path) -> Self {
        match (path.exists(), access(path, AccessFlags::R_OK | AccessFlags::W_OK)) {
            (false, _) => Self::Absent,
            (true, Err(_)) => Self::Forbidden,
            (true, Ok(())) => Self::Opens,
        }
    }
}

/// A machine without KVM is as it should be, since TCG runs everywhere. A KVM that is there and cannot be used is a
/// warning.
fn judge(choice: &AccelChoice, device: Device) -> Check {
    let check = |status| Check::new("accelerator", status, choice.explanation());
    match (device, choice.accelerator) {
        (Device::Forbidden, _) => check(Status::Warn).with_remedy("sudo usermod -aG kvm $USER, and log in again"),
        (Device::Opens, Accelerator::Tcg) => check(Status::Warn).with_remedy(
            "nothing need be done, as guests run under TCG; for KVM, turn on nested virtualisation where this machine is \
             hosted, then `vmlab run --accel kvm` tries it again",
        ),
        (Device::Absent, _) | (Device::Opens, Accelerator::Kvm) => check(Status::Ok),
    }
}

fn need_check(machine: &Machine, need: &Need) -> Check {
    if machine.has(need) {
        return Check::new(need.name, Status::Ok, format!("found; needed {}", need.purpose));
    }
    let package = machine.manager().and_then(|manager| need.package(manager));
    let status = if package.is_some() { Status::Missing } else { Status::Warn };
    let check = Check::new(need.name, status, format!("not found; needed {}", need.purpose));
    match (package, need.scope) {
        (None, _) => check,
        (Some(_), Scope::Run) => check.with_remedy(FIX),
        (Some(_), Scope::Build) => check.with_remedy(format!("{FIX} --build")),
        (Some(_), Scope::Tests) => check.with_remedy(format!("{FIX} --tests")),
    }
}

/// The needs of building kernels in one line, for a user who may never build one.
fn builds_check(machine: &Machine) -> Check {
    let needs = need::ALL.iter().filter(|need| need.scope == Scope::Build && !machine.has(need));
    let missing: Vec<&str> = needs.map(|need| need.name).collect();
    let name = "kernel builds";
    match missing.as_slice() {
        [] => Check::new(name, Status::Ok, "found what building kernels needs"),
        missing => {
            Check::new(name, Status::Warn, format!("not found: {}; needed to build kernels", missing.join(", ")))
                .with_remedy(format!("{FIX} --build"))
        }
    }
}

/// Checks a directory or, if it does not exist yet, its nearest existing ancestor.
fn directory_check(name: &'static str, directory: &Path, wanted_mib: u64, variable: &str) -> Check {
    let elsewhere = format!("export {variable}=/a/directory/with/room");
    let shown = directory.display();
    let Some(existing) = directory.ancestors().find(|path| path.exists()) else {
        return Check::new(name, Status::Missing, format!("{shown} has no existing parent directory"))
            .with_remedy(elsewhere);
    };
    // Create an unnamed file (open(2), O_TMPFILE), which vanishes when it is closed: permission bits do not show a
    // read-only mount.
    if let Err(error) = tempfile::tempfile_in(existing) {
        let detail = format!("{shown} is not writable: cannot create a file in {} ({error})", existing.display());
        return Check::new(name, Status::Missing, detail).with_remedy(elsewhere);
    }
    match statvfs(existing) {
        Ok(space) => {
            let free_mib = space.blocks_available().saturating_mul(space.fragment_size()) >> 20;
            let detail = format!("{shown}, {free_mib} MiB free");
            if free_mib < wanted_mib {
                let detail = format!("{detail}; at least {wanted_mib} MiB are recommended");
                return Check::new(name, Status::Warn, detail).with_remedy(elsewhere);
            }
            Check::new(name, Status::Ok, detail)
        }
        Err(error) => Check::new(name, Status::Warn, format!("{shown}; cannot read its free space ({error})")),
    }
}

/// Checks memory with the text of /proc/meminfo (proc_meminfo(5)).
fn memory_check(meminfo: &str, cores: u64) -> Check {
    let name = "memory";
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    let Some(free_mib) = kib.map(|kib| kib / 1024) else {
        return Check::new(name, Status::Warn, "/proc/meminfo has no readable MemAvailable");
    };
    let guests = free_mib / GUEST_MIB;
    let detail = format!("{free_mib} MiB available; {cores} concurrent guests take about {} MiB", cores * GUEST_MIB);
    match guests {
        0 => {
            Check::new(name, Status::Missing, format!("{free_mib} MiB available; a guest takes about {GUEST_MIB} MiB"))
        }
        _ if guests < cores => Check::new(name, Status::Warn, detail),
        _ => Check::new(name, Status::Ok, detail),
    }
}

fn cores() -> u64 {
    thread::available_parallelism().map_or(1, NonZero::get) as u64
}

/// The kernels that are available without network.
#[derive(Debug, Default)]
struct Kernels {
    fetched: Vec<PathBuf>,
    installed: Vec<PathBuf>,
}

impl Kernels {
    /// Finds the kernels; the error says why they cannot be listed. Damaged kernels in the cache do not count, because
    /// a run fetches them again.
    fn find(cache: &Path, root: &Path) -> Result<Self, String> {
        let store = KernelStore::new(cache);
        let mut fetched = Vec::new();
        for stem in store.pinned().map_err(|error| chain(&error))? {
            if let Lookup::Found(entry) = store.peek(&stem).map_err(|error| chain(&error))? {
                fetched.push(entry.kernel());
            }
        }
        let installed = installed::find(root).map_err(|error| chain(&error))?;
        Ok(Self { fetched, installed: installed.into_iter().map(|kernel| kernel.path).collect() })
    }

    /// A readable kernel.
    fn first(&self) -> Option<&Path> {
        let readable = |path: &&PathBuf| access(path.as_path(), AccessFlags::R_OK).is_ok();
        self.fetched.iter().chain(&self.installed).find(readable).map(PathBuf::as_path)
    }
}

fn kernels_check(kernels: &Result<Kernels, String>) -> Check {
    let name = "kernels";
    match kernels {
        Ok(Kernels { fetched, installed }) => {
            let counted = format!("{} fetched, {} installed", fetched.len(), installed.len());
            if fetched.is_empty() {
                let detail = format!("{counted}; a run fetches what it needs");
                return Check::new(name, Status::Ok, detail).with_remedy("vmlab kernel fetch");
            }
            Check::new(name, Status::Ok, counted)
        }
        Err(why) => Check::new(name, Status::Warn, why),
    }
}

#[cfg(test)]
mod tests;
