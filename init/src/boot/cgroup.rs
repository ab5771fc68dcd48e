//! Enables every cgroup v2 controller of the kernel for the root's children.

use std::fs;

/// The mount point of the cgroup v2 hierarchy.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// Enables all controllers for the root's children; returns the problems. Does nothing on a kernel without cgroup v2.
pub(crate) fn enable_controllers() -> Vec<String> {
    let Ok(controllers) = fs::read_to_string(format!("{ROOT}/cgroup.controllers")) else {
        return Vec::new();
    };
    let enable = |name: &str| {
        // One write per controller: the kernel refuses a write of several names entirely if it refuses any of them.
        fs::write(format!("{ROOT}/cgroup.subtree_control"), format!("+{name}"))
            .err()
            .map(|error| format!("cannot enable the cgroup controller {name}: {error}"))
    };
    controllers.split_ascii_whitespace().filter_map(enable).collect()
}
