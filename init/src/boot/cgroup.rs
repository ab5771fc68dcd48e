//! The cgroup v2 hierarchy: every controller that the kernel has, handed down from the root.

use std::fs;

/// Where it is mounted.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// Enables all controllers for the root's children; returns what went wrong. Without cgroup v2 there is nothing to do.
pub(crate) fn enable_controllers() -> Vec<String> {
    let Ok(controllers) = fs::read_to_string(format!("{ROOT}/cgroup.controllers")) else {
        return Vec::new();
    };
    let enable = |name: &str| {
        // One at a time: a write that names several is refused as a whole where one of them is.
        fs::write(format!("{ROOT}/cgroup.subtree_control"), format!("+{name}"))
            .err()
            .map(|error| format!("cannot enable the cgroup controller {name}: {error}"))
    };
    controllers.split_ascii_whitespace().filter_map(enable).collect()
}
