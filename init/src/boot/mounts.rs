//! Mounts the file systems that scenarios use.

use std::fs;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

struct Mount {
    kind: &'static str,
    target: &'static str,
    options: &'static str,
    /// Whether the guest needs it to work: a failed mount is then a problem even if the kernel lacks the file system.
    needed: bool,
}

const fn entry(kind: &'static str, target: &'static str, options: &'static str, needed: bool) -> Mount {
    Mount { kind, target, options, needed }
}

/// In mount order: parents before children.
const MOUNTS: &[Mount] = &[
    entry("proc", "/proc", "", true),
    entry("sysfs", "/sys", "", true),
    entry("devtmpfs", "/dev", "mode=0755", true),
    // The group and mode that C libraries expect of terminals (grantpt(3)).
    entry("devpts", "/dev/pts", "ptmxmode=0666,gid=5,mode=0620", false),
    entry("tmpfs", "/dev/shm", "mode=1777", false),
    entry("mqueue", "/dev/mqueue", "", false),
    entry("tmpfs", "/run", "mode=0755", true),
    entry("tmpfs", "/tmp", "mode=1777", true),
    entry("cgroup2", super::cgroup::ROOT, "", false),
];

/// Mounts all file systems; returns the problems, one sentence each.
pub(crate) fn mount_all() -> Vec<String> {
    MOUNTS.iter().filter_map(mount_one).collect()
}

fn mount_one(entry: &Mount) -> Option<String> {
    let Mount { kind, target, options, needed } = entry;
    if let Err(error) = fs::create_dir_all(target) {
        // In sysfs only the kernel creates directories: a missing mount point means that the kernel lacks the feature.
        return needed.then(|| format!("cannot create {target}: {error}"));
    }
    match mount(Some(*kind), *target, Some(*kind), MsFlags::MS_NOSUID, Some(*options)) {
        // EBUSY: with CONFIG_DEVTMPFS_MOUNT the kernel has mounted devtmpfs itself.
        Ok(()) | Err(Errno::EBUSY) => None,
        // ENODEV: the kernel lacks this file system, which the scenarios' probes report.
        Err(Errno::ENODEV) if !needed => None,
        Err(error) => Some(format!("cannot mount {kind} on {target}: {error}")),
    }
}
