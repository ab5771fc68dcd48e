//! A cgroup of the v2 hierarchy that exists as long as its sandbox.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use nix::poll::PollFlags;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::report::readable;
use super::{During, Probe, Trouble, WAIT_LIMIT, undo};

/// The mount point of the v2 hierarchy. PID 1 has enabled all controllers for the root's children.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// A setting of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// The file, for example `pids.max`; the part before the dot is the controller.
    pub(crate) file: &'static str,
    /// The text to write to the file.
    pub(crate) value: &'static str,
}

impl Limit {
    /// The controller that the file belongs to; None for the core's files (`cgroup.*`).
    fn controller(&self) -> Option<&'static str> {
        self.file.split('.').next().filter(|&name| name != "cgroup")
    }
}

/// A cgroup below the root. Dropping the guard waits until the cgroup is empty and removes it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// Creates a cgroup with an unused name and writes the limits.
    pub(crate) fn create(limits: &[Limit]) -> Result<Self, Trouble> {
        Self::create_in(Path::new(ROOT), limits)
    }

    /// Creates a cgroup below this one. Only the controllers that [`Self::enable`] has enabled have files there.
    pub(crate) fn create_below(&self, limits: &[Limit]) -> Result<Self, Trouble> {
        Self::create_in(&self.dir, limits)
    }

    fn create_in(parent: &Path, limits: &[Limit]) -> Result<Self, Trouble> {
        let dir = create_numbered_dir(parent)?;
        let cgroup = Self { dir };
        for limit in limits {
            let file = cgroup.dir.join(limit.file);
            fs::write(&file, limit.value).during(format_args!("writing {} to {}", limit.value, file.display()))?;
        }
        Ok(cgroup)
    }

    /// The cgroup's path as in the third field of `/proc/PID/cgroup`, for example `/vmlab-85-0`.
    #[must_use]
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.dir.strip_prefix(ROOT).unwrap_or(&self.dir).display())
    }

    /// Enables a controller for the cgroups below. A cgroup with processes refuses this (Documentation/admin-guide/cgroup-v2.rst,
    /// section "No Internal Process Constraint").
    pub(crate) fn enable(&self, controller: &str) -> Result<(), Trouble> {
        self.write("cgroup.subtree_control", &format!("+{controller}"))
    }

    /// The path of one of the cgroup's files.
    #[must_use]
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Reads a file and strips trailing white space.
    pub(crate) fn read(&self, name: &str) -> Result<String, Trouble> {
        let file = self.file(name);
        let text = fs::read_to_string(&file).during(format_args!("reading {}", file.display()))?;
        Ok(text.trim_end().to_owned())
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), Trouble> {
        let file = self.file(name);
        fs::write(&file, text).during(format_args!("writing {text:?} to {}", file.display()))
    }

    /// The number in a file that has one value, such as `memory.current`.
    pub(crate) fn number(&self, name: &str) -> Result<u64, Trouble> {
        self.read(name)?.parse().during(format_args!("reading the number in {name}"))
    }

    /// The number of a key in a file of lines `KEY VALUE`, such as `cpu.stat`.
    pub(crate) fn count(&self, name: &str, key: &str) -> Result<u64, Trouble> {
        let text = self.read(name)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        value
            .ok_or_else(|| Trouble::new(format_args!("{name} has no key {key}")))?
            .parse()
            .during(format_args!("reading {key} of {name}"))
    }

    /// Moves the calling process into the cgroup.
    pub(crate) fn enter(&self) -> Result<(), Trouble> {
        let file = self.dir.join("cgroup.procs");
        // 0 stands for the writing process (Documentation/admin-guide/cgroup-v2.rst, section "Processes").
        fs::write(&file, "0").during(format_args!("moving a process into {}", self.dir.display()))
    }

    /// Waits until the cgroup is empty: a reaped process may stay in its cgroup for a moment.
    fn wait_until_empty(&self) -> Result<(), Trouble> {
        self.await_event("populated 0")
    }

    /// Waits until `cgroup.events` has this line.
    ///
    /// # Errors
    /// The line did not appear within [`WAIT_LIMIT`].
    pub(crate) fn await_event(&self, wanted: &str) -> Result<(), Trouble> {
        let started = Instant::now();
        let events = self.dir.join("cgroup.events");
        loop {
            let file = fs::File::open(&events).during(format_args!("opening {}", events.display()))?;
            let text = io::read_to_string(&file).during(format_args!("reading {}", events.display()))?;
            if text.lines().any(|line| line == wanted) {
                return Ok(());
            }
            let left = WAIT_LIMIT.saturating_sub(started.elapsed());
            if left.is_zero() || !readable(&file, PollFlags::POLLPRI, left)? {
                return Err(Trouble::new(format_args!("{} does not change to {wanted:?}", events.display())));
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

/// Tests whether the kernel has cgroup v2, and this file in it.
pub(crate) fn probe_file(file: &'static str) -> Result<Probe, Trouble> {
    probe(&[Limit { file, value: "" }])
}

/// Tests whether the kernel has cgroup v2 and the controllers of these limits.
///
/// # Errors
/// The kernel has cgroup v2, but its hierarchy cannot be inspected.
pub(crate) fn probe(limits: &[Limit]) -> Result<Probe, Trouble> {
    let filesystems = fs::read_to_string("/proc/filesystems").during("reading /proc/filesystems")?;
    if !filesystems.lines().any(|line| line.split_whitespace().last() == Some("cgroup2")) {
        return Ok(Probe::Missing("/proc/filesystems does not name cgroup2".to_owned()));
    }
    let kind = statfs(ROOT).during(format_args!("statfs({ROOT})"))?.filesystem_type();
    if kind != CGROUP2_SUPER_MAGIC {
        return Err(Trouble::new(format_args!("the kernel has cgroup2, but {ROOT} is no cgroup2 mount")));
    }
    for limit in limits {
        if let Some(controller) = limit.controller() {
            if !lists("cgroup.controllers", controller)? {
                return Ok(Probe::Missing(format!("{ROOT}/cgroup.controllers does not name {controller}")));
            }
            if !lists("cgroup.subtree_control", controller)? {
                return Err(Trouble::new(format_args!(
                    "PID 1 did not enable {controller} in {ROOT}/cgroup.subtree_control"
                )));
            }
        }
        if !Cgroup::create(&[])?.dir.join(limit.file).exists() {
            return Ok(Probe::Missing(format!("a new cgroup has no file {}", limit.file)));
        }
    }
    Ok(Probe::Available)
}

/// Whether a file of the root cgroup lists this controller.
fn lists(file: &str, controller: &str) -> Result<bool, Trouble> {
    let text = fs::read_to_string(Path::new(ROOT).join(file)).during(format_args!("reading {ROOT}/{file}"))?;
    Ok(text.split_whitespace().any(|name| name == controller))
}

/// Creates a directory `vmlab-PID-N` with the first free N. The legs of a boot and their leftovers therefore do not
/// collide.
pub(crate) fn create_numbered_dir(parent: &Path) -> Result<PathBuf, Trouble> {
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
    Err(Trouble::new(format_args!("{} already contains {MOST} directories named vmlab-{pid}-N", parent.display())))
}
