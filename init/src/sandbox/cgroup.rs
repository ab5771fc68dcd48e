//! Cgroups of the unified hierarchy, made for one sandbox and removed with it.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use nix::poll::PollFlags;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::report::readable;
use super::{During, PATIENCE, Probe, Trouble, undo};

/// Where PID 1 mounts the unified hierarchy, with all controllers enabled for the root's children.
const ROOT: &str = "/sys/fs/cgroup";

/// A value for one of a cgroup's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The file, as `pids.max`; the part before the point is the controller.
    pub file: &'static str,
    /// What is written to it.
    pub value: &'static str,
}

impl Limit {
    /// The controller whose file it is; none for the core's own.
    fn controller(&self) -> Option<&'static str> {
        self.file.split('.').next().filter(|&word| word != "cgroup")
    }
}

/// A cgroup below the root. Dropping it waits until it is empty and removes it.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup with a name of its own and sets the limits.
    ///
    /// # Errors
    /// mkdir(2), or the writing of a limit.
    pub fn create(limits: &[Limit]) -> Result<Self, Trouble> {
        let dir = create_numbered_dir(Path::new(ROOT))?;
        let cgroup = Self { dir };
        for limit in limits {
            let file = cgroup.dir.join(limit.file);
            fs::write(&file, limit.value).during(format_args!("writing {} to {}", limit.value, file.display()))?;
        }
        Ok(cgroup)
    }

    /// Its place in the hierarchy, as in the third field of `/proc/PID/cgroup`: `/vmlab-85-0`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.dir.strip_prefix(ROOT).unwrap_or(&self.dir).display())
    }

    /// Moves the calling process into it.
    ///
    /// # Errors
    /// As write(2) to `cgroup.procs`.
    pub fn enter(&self) -> Result<(), Trouble> {
        let file = self.dir.join("cgroup.procs");
        // 0 stands for the process that writes, see Documentation/admin-guide/cgroup-v2.rst, section "Processes".
        fs::write(&file, "0").during(format_args!("moving a process into {}", self.dir.display()))
    }

    /// Waits until no process is left in it: a process that was reaped may still be on its way out.
    fn wait_until_empty(&self) -> Result<(), Trouble> {
        let started = Instant::now();
        let events = self.dir.join("cgroup.events");
        loop {
            let file = fs::File::open(&events).during(format_args!("opening {}", events.display()))?;
            let text = io::read_to_string(&file).during(format_args!("reading {}", events.display()))?;
            if text.lines().any(|line| line == "populated 0") {
                return Ok(());
            }
            let left = PATIENCE.saturating_sub(started.elapsed());
            if left.is_zero() || !readable(&file, PollFlags::POLLPRI, left)? {
                return Err(Trouble(format!("processes are left in {}", self.dir.display())));
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = self.wait_until_empty().and_then(|()| fs::remove_dir(&self.dir).during("rmdir(2)"));
        if let Err(trouble) = removed {
            undo::failed(format_args!("the cgroup {}: {trouble}", self.dir.display()));
        }
    }
}

/// Whether there are cgroups and the controllers of these limits.
///
/// # Errors
/// The hierarchy cannot be looked at, though the kernel knows it.
pub fn probe(limits: &[Limit]) -> Result<Probe, Trouble> {
    let filesystems = fs::read_to_string("/proc/filesystems").during("reading /proc/filesystems")?;
    if !filesystems.lines().any(|line| line.split_whitespace().last() == Some("cgroup2")) {
        return Ok(Probe::Missing("/proc/filesystems does not name cgroup2".to_owned()));
    }
    let kind = statfs(ROOT).during(format_args!("statfs({ROOT})"))?.filesystem_type();
    if kind != CGROUP2_SUPER_MAGIC {
        return Err(Trouble(format!("{ROOT} is no cgroup2 mount, though the kernel has cgroup2")));
    }
    for limit in limits {
        if let Some(controller) = limit.controller() {
            if !lists("cgroup.controllers", controller)? {
                return Ok(Probe::Missing(format!("{ROOT}/cgroup.controllers does not name {controller}")));
            }
            if !lists("cgroup.subtree_control", controller)? {
                return Err(Trouble(format!("PID 1 did not enable {controller} in {ROOT}/cgroup.subtree_control")));
            }
        }
        if !Cgroup::create(&[])?.dir.join(limit.file).exists() {
            return Ok(Probe::Missing(format!("a new cgroup has no file {}", limit.file)));
        }
    }
    Ok(Probe::Available)
}

/// Whether a file of the root cgroup names this controller.
fn lists(file: &str, controller: &str) -> Result<bool, Trouble> {
    let text = fs::read_to_string(Path::new(ROOT).join(file)).during(format_args!("reading {ROOT}/{file}"))?;
    Ok(text.split_whitespace().any(|word| word == controller))
}

/// Makes a directory `vmlab-PID-N` with the first N that is free, so that neither the legs of one boot nor what an
/// earlier one left behind come into each other's way.
///
/// # Errors
/// As mkdir(2), `EEXIST` excepted.
pub fn create_numbered_dir(parent: &Path) -> Result<PathBuf, Trouble> {
    const MOST: u32 = 1000;
    let pid = std::process::id();
    for number in 0..MOST {
        let dir = parent.join(format!("vmlab-{pid}-{number}"));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).during(format_args!("mkdir({})", dir.display())),
        }
    }
    Err(Trouble(format!("{MOST} directories vmlab-{pid}-N are in {} already", parent.display())))
}
