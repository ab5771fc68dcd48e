//! Whether the host's kernel has killed a process for want of memory: apt and tar only report that their input ended early.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the memory cgroup of this process is described.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    /// `/proc/self/cgroup`.
    pub(crate) membership: PathBuf,
    /// `/sys/fs/cgroup`.
    pub(crate) root: PathBuf,
}

impl Cgroups {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Self {
        Self { membership: "/proc/self/cgroup".into(), root: "/sys/fs/cgroup".into() }
    }

    /// How many processes of this cgroup the kernel has killed for want of memory; 0 if that is unknown.
    pub(super) fn kills(&self) -> u64 {
        let membership = fs::read_to_string(&self.membership).unwrap_or_default();
        let kills = |file: &PathBuf| count(&fs::read_to_string(file).ok()?);
        counters(&membership, &self.root).iter().find_map(kills).unwrap_or(0)
    }
}

/// The files that may have the counter, by the text of /proc/PID/cgroup (cgroups(7)): `memory.events` in version 2,
/// `memory.oom_control` in version 1. In a container, the path may be one that only the host sees; the root of the hierarchy
/// is then the container's cgroup.
fn counters(membership: &str, root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (hierarchy, file) = match controllers {
            "" => (root.to_owned(), "memory.events"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.oom_control"),
            _ => continue,
        };
        files.push(hierarchy.join(path.trim_start_matches('/')).join(file));
        files.push(hierarchy.join(file));
    }
    files
}

/// Reads the line `oom_kill N`.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_in_either_version_of_cgroups() {
        let root = Path::new("/c");
        let paths = |files: &[&str]| files.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (membership, files) in [
            ("0::/user.slice/a\n", &["/c/user.slice/a/memory.events", "/c/memory.events"][..]),
            ("0::/\n", &["/c/memory.events", "/c/memory.events"]),
            (
                "5:cpu,memory:/docker/x:y\n3:cpuset:/\n",
                &["/c/memory/docker/x:y/memory.oom_control", "/c/memory/memory.oom_control"],
            ),
            ("3:name=memory:/\nrubbish\n", &[]),
            ("", &[]),
        ] {
            assert_eq!(counters(membership, root), paths(files), "{membership}");
        }
    }

    #[test]
    fn the_count_is_read_from_its_line() {
        assert_eq!(count("low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), None);
        assert_eq!(count("oom_kill x\n"), None);
    }

    #[test]
    fn an_unreadable_cgroup_counts_no_kills() {
        let nowhere = Cgroups { membership: "/proc/none".into(), root: "/proc/none".into() };
        assert_eq!(nowhere.kills(), 0);
    }
}
