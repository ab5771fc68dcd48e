//! What is there on a machine and what is not: the findings of `vmlab doctor`.

use std::fmt;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use super::Machine;
use super::need::{self, Need, Scope};
use vmlab_events::error::chain;
use vmlab_kernel::fetched::{KernelStore, Lookup};
use vmlab_kernel::installed;
use vmlab_qemu::accel::{self, AccelChoice, Accelerator, Wanted};
use vmlab_qemu::qemu::{self, Qemu, QemuError};
use vmlab_store::dirs::Dirs;

/// The command that installs what packages bring.
const FIX: &str = "vmlab doctor --fix";
/// Free space that the cache should have, in MiB: a stock kernel with its modules takes about 150.
const CACHE_MIB: u64 = 1024;
/// Free space that the run records should have, in MiB: one takes about 1.
const STATE_MIB: u64 = 100;
/// What a guest of 256 MiB takes of the host with all that QEMU needs besides, in MiB.
const GUEST_MIB: u64 = 400;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Not as it should be; the scenarios run all the same, or most of them.
    Warn,
    /// Needed and not there.
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

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// What was found, in one line.
    pub detail: String,
    /// The command that mends it, or what else to do, where something can be done.
    pub remedy: Option<String>,
}

impl Check {
    fn new(name: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self { name, status, detail: detail.into(), remedy: None }
    }

    fn mended_by(mut self, command: impl Into<String>) -> Self {
        self.remedy = Some(command.into());
        self
    }
}

/// All that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Whether nothing that is needed is missing.
    pub fit: bool,
    /// In the order in which a run comes to need them.
    pub checks: Vec<Check>,
}

impl Survey {
    fn of(checks: Vec<Check>) -> Self {
        Self { fit: checks.iter().all(|check| check.status != Status::Missing), checks }
    }
}

/// What to look at.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// vmlab's directories. Nothing is made in them but the memory of a probe.
    pub dirs: &'a Dirs,
    /// `--qemu`
    pub qemu: Option<&'a Path>,
    /// A kernel for the probe of KVM; without one, any that is at hand.
    pub kernel: Option<&'a Path>,
    /// Whose needs count.
    pub scope: Scope,
}

/// Looks at this machine. Takes up to 2 s where KVM has to be probed, and as long as QEMU takes to say its version.
pub async fn survey(question: &Question<'_>) -> Survey {
    let machine = Machine::this();
    let qemu = qemu::find(question.qemu, &question.dirs.cache).await;
    let kernels = Kernels::find(&question.dirs.cache, &machine.root);
    let mut checks = vec![qemu_check(&qemu)];
    if let Ok(qemu) = &qemu {
        checks.push(accelerator_check(question, qemu, &kernels).await);
    }
    let others = need::ALL.iter().filter(|need| **need != need::QEMU);
    checks.extend(others.map(|need| need_check(&machine, need, question.scope)));
    checks.push(directory_check("cache", &question.dirs.cache, CACHE_MIB, "XDG_CACHE_HOME"));
    checks.push(directory_check("run records", &question.dirs.state, STATE_MIB, "XDG_STATE_HOME"));
    checks.push(memory_check(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), cores()));
    checks.push(kernels_check(&kernels));
    Survey::of(checks)
}

fn qemu_check(found: &Result<Qemu, QemuError>) -> Check {
    let name = need::QEMU.name;
    match found {
        Ok(qemu) => Check::new(name, Status::Ok, format!("{} at {}", qemu.version, qemu.path.display())),
        Err(error @ QemuError::Missing) => Check::new(name, Status::Missing, error.to_string()).mended_by(FIX),
        Err(error) => Check::new(name, Status::Missing, chain(error)),
    }
}

async fn accelerator_check(question: &Question<'_>, qemu: &Qemu, kernels: &Result<Kernels, String>) -> Check {
    let name = "accelerator";
    let cache = &question.dirs.cache;
    let at_hand = || kernels.as_ref().ok().and_then(Kernels::first);
    let kernel = question.kernel.or_else(at_hand);
    let choice = match (accel::known(qemu, cache), kernel) {
        (Some(known), _) => known,
        (None, Some(kernel)) => match accel::choose(Wanted::Auto, qemu, kernel, cache).await {
            Ok(choice) => choice,
            Err(error) => return Check::new(name, Status::Warn, error.to_string()),
        },
        (None, None) => {
            let detail = "/dev/kvm opens; whether a kernel boots under it shows as soon as there is a kernel to try";
            return Check::new(name, Status::Ok, detail).mended_by("vmlab kernel fetch");
        }
    };
    judge(&choice, Device::find(Path::new("/dev/kvm")))
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
        (Device::Forbidden, _) => check(Status::Warn).mended_by("sudo usermod -aG kvm $USER, and log in again"),
        (Device::Opens, Accelerator::Tcg) => check(Status::Warn).mended_by(
            "nothing need be done, as guests run under TCG; for KVM, turn on nested virtualisation where this machine is \
             hosted, then `vmlab run --accel kvm` tries it again",
        ),
        (Device::Absent, _) | (Device::Opens, Accelerator::Kvm) => check(Status::Ok),
    }
}

fn need_check(machine: &Machine, need: &Need, scope: Scope) -> Check {
    if machine.has(need) {
        return Check::new(need.name, Status::Ok, format!("there, {}", need.purpose));
    }
    let package = machine.manager().and_then(|manager| need.package(manager));
    let status = if need.scope <= scope && package.is_some() { Status::Missing } else { Status::Warn };
    let check = Check::new(need.name, status, format!("not there; it is needed {}", need.purpose));
    match (package, need.scope) {
        (None, _) => check,
        (Some(_), Scope::Run) => check.mended_by(FIX),
        (Some(_), Scope::Tests) => check.mended_by(format!("{FIX} --tests")),
    }
}

/// The directory need not be there yet: what counts then is the nearest one above it.
fn directory_check(name: &'static str, directory: &Path, wanted_mib: u64, variable: &str) -> Check {
    let elsewhere = format!("export {variable}=/a/directory/with/room");
    let shown = directory.display();
    let Some(existing) = directory.ancestors().find(|path| path.exists()) else {
        return Check::new(name, Status::Missing, format!("{shown} is not below any directory")).mended_by(elsewhere);
    };
    // A file without a name (open(2), O_TMPFILE), gone as soon as it is closed: no permission bit tells of a file system
    // that is mounted read-only.
    if let Err(error) = tempfile::tempfile_in(existing) {
        let detail = format!("{shown} cannot be written: no file can be made in {} ({error})", existing.display());
        return Check::new(name, Status::Missing, detail).mended_by(elsewhere);
    }
    match statvfs(existing) {
        Ok(space) => {
            let free_mib = space.blocks_available().saturating_mul(space.fragment_size()) >> 20;
            let detail = format!("{shown}, {free_mib} MiB free");
            if free_mib < wanted_mib {
                let detail = format!("{detail}, and {wanted_mib} are better");
                return Check::new(name, Status::Warn, detail).mended_by(elsewhere);
            }
            Check::new(name, Status::Ok, detail)
        }
        Err(error) => Check::new(name, Status::Warn, format!("{shown}, and its free space is unknown ({error})")),
    }
}

/// From the text of /proc/meminfo (proc_meminfo(5)).
fn memory_check(meminfo: &str, cores: u64) -> Check {
    let name = "memory";
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    let Some(free_mib) = kib.map(|kib| kib / 1024) else {
        return Check::new(name, Status::Warn, "/proc/meminfo does not say how much is available");
    };
    let guests = free_mib / GUEST_MIB;
    let detail = format!("{free_mib} MiB available; {cores} guests at a time take about {}", cores * GUEST_MIB);
    match guests {
        0 => Check::new(
            name,
            Status::Missing,
            format!("{free_mib} MiB available, and one guest takes about {GUEST_MIB}"),
        ),
        _ if guests < cores => Check::new(name, Status::Warn, detail),
        _ => Check::new(name, Status::Ok, detail),
    }
}

fn cores() -> u64 {
    thread::available_parallelism().map_or(1, NonZero::get) as u64
}

/// The kernels that can be had without the network.
#[derive(Debug, Default)]
struct Kernels {
    fetched: Vec<PathBuf>,
    installed: Vec<PathBuf>,
}

impl Kernels {
    /// Or why they cannot be looked at. One that was fetched and damaged since is not counted: a run fetches it anew.
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

    /// One that can be read.
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
                return Check::new(name, Status::Ok, detail).mended_by("vmlab kernel fetch");
            }
            Check::new(name, Status::Ok, counted)
        }
        Err(why) => Check::new(name, Status::Warn, why),
    }
}

#[cfg(test)]
mod tests;
