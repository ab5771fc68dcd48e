//! The file systems that scenarios may count on.

use std::fs;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

struct Mount {
    kind: &'static str,
    target: &'static str,
    options: &'static str,
    /// Without it nothing works, so that its absence is a problem and not just a missing feature.
    needed: bool,
}

const fn entry(kind: &'static str, target: &'static str, options: &'static str, needed: bool) -> Mount {
    Mount { kind, target, options, needed }
}

/// In order: a target below another comes after it.
const MOUNTS: &[Mount] = &[
    entry("proc", "/proc", "", true),
    entry("sysfs", "/sys", "", true),
    entry("devtmpfs", "/dev", "mode=0755", true),
    entry("devpts", "/dev/pts", "ptmxmode=0666", false),
    entry("tmpfs", "/dev/shm", "mode=1777", false),
    entry("mqueue", "/dev/mqueue", "", false),
    entry("tmpfs", "/run", "mode=0755", true),
    entry("tmpfs", "/tmp", "mode=1777", true),
    entry("cgroup2", super::cgroup::ROOT, "", false),
];

/// Mounts them all; returns what went wrong, as sentences.
pub(crate) fn mount_all() -> Vec<String> {
    MOUNTS.iter().filter_map(mount_one).collect()
}

fn mount_one(entry: &Mount) -> Option<String> {
    let Mount { kind, target, options, needed } = entry;
    if let Err(error) = fs::create_dir_all(target) {
        // Below sysfs the kernel makes the directory, or the feature is not there.
        return needed.then(|| format!("cannot create {target}: {error}"));
    }
    match mount(Some(*kind), *target, Some(*kind), MsFlags::MS_NOSUID, Some(*options)) {
        // The kernel has mounted devtmpfs itself where CONFIG_DEVTMPFS_MOUNT applies.
        Ok(()) | Err(Errno::EBUSY) => None,
        // The kernel does not have this file system: the scenarios' probes will say so.
        Err(Errno::ENODEV) if !needed => None,
        Err(error) => Some(format!("cannot mount {kind} on {target}: {error}")),
    }
}
