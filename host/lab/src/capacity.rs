//! How many guests this machine can run at a time.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::plan::Plan;

/// What a guest may need beside its own memory, in MiB: its QEMU with its translated code (up to 60 MiB were seen), and a
/// standby that waits meanwhile (11 MiB).
const BESIDE_MIB: u64 = 96;

/// What the machine has for guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    processors: usize,
    /// Memory that can be used without swapping, in MiB. None if the system does not say.
    memory_mib: Option<u64>,
}

/// The number of guests at a time, and what the user should know about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) guests: usize,
    pub(crate) notice: Option<String>,
}

impl Capacity {
    /// The capacity of this machine for the guests of a plan.
    pub(crate) fn of(plan: &Plan) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let room = Room { processors, memory_mib: available_mib(Path::new("/")) };
        room.capacity(plan.cpus, plan.memory_mib.into(), plan.guests_at_once)
    }
}

impl Room {
    /// As many guests as there are processors for and memory, if the user asks for no other number.
    fn capacity(self, cpus: u32, memory_mib: u64, asked: Option<usize>) -> Capacity {
        let by_processors = usize::try_from(cpus).map_or(1, |cpus| (self.processors / cpus.max(1)).max(1));
        let each_mib = memory_mib + BESIDE_MIB;
        let by_memory = self.memory_mib.and_then(|mib| usize::try_from(mib / each_mib).ok()).unwrap_or(usize::MAX);
        let wanted = asked.unwrap_or(by_processors);
        let guests = if asked.is_some() { wanted } else { wanted.min(by_memory).max(1) };
        let notice = (wanted > by_memory.max(1)).then(|| {
            let has = format!(
                "{} MiB of memory are available, and each guest may need {each_mib}",
                self.memory_mib.unwrap_or_default()
            );
            match asked {
                Some(_) => format!(
                    "{wanted} guests at a time may be too many: {has}; fewer (--jobs), or smaller ones (--memory)"
                ),
                None => format!("{guests} at a time instead of {wanted} guests: {has} (--jobs overrides this)"),
            }
        });
        Capacity { guests, notice }
    }
}

/// The memory that this process and its children can have, in MiB: what the system has available (proc(5), `MemAvailable`,
/// Linux 3.14), and what each memory cgroup above this process has left. `root` is `/` but in tests.
fn available_mib(root: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let system = value(&meminfo, "MemAvailable:")? << 10;
    let cgroups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let least = cgroups.lines().filter_map(|line| Hierarchy::of_line(root, line)).filter_map(|all| all.left());
    Some(least.chain([system]).min()? >> 20)
}

/// The memory cgroup of this process in one hierarchy, and the names of its files.
struct Hierarchy {
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The cgroup, relative to the mount.
    path: PathBuf,
    limit: &'static str,
    usage: &'static str,
    /// The statistic of memory that can be taken back at once.
    cached: &'static str,
}

impl Hierarchy {
    /// From a line of /proc/self/cgroup: `0::/PATH` for version 2, `N:CONTROLLERS:/PATH` for version 1 (cgroups(7)).
    fn of_line(root: &Path, line: &str) -> Option<Self> {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = PathBuf::from(path.trim_start_matches('/'));
        let mounts = root.join("sys/fs/cgroup");
        if number == "0" {
            let (limit, usage, cached) = ("memory.max", "memory.current", "inactive_file");
            return Some(Self { mount: mounts, path, limit, usage, cached });
        }
        let (limit, usage, cached) = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        is_memory.then(|| Self { mount: mounts.join("memory"), path, limit, usage, cached })
    }

    /// The bytes that are left below the limits of the cgroup and of those above it. None without a limit.
    fn left(&self) -> Option<u64> {
        self.path.ancestors().filter_map(|cgroup| self.left_in(&self.mount.join(cgroup))).min()
    }

    fn left_in(&self, cgroup: &Path) -> Option<u64> {
        // Without a limit, version 2 has the word `max`, and the root has no file. Inside a container the path may be that
        // of the host, which is not there.
        let limit: u64 = read(&cgroup.join(self.limit))?;
        let usage: u64 = read(&cgroup.join(self.usage))?;
        let stat = fs::read_to_string(cgroup.join("memory.stat")).unwrap_or_default();
        Some(limit.saturating_sub(usage.saturating_sub(value(&stat, self.cached).unwrap_or_default())))
    }
}

fn read<T: FromStr>(file: &Path) -> Option<T> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number after a name at the beginning of a line.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn room(processors: usize, memory_mib: u64) -> Room {
        Room { processors, memory_mib: Some(memory_mib) }
    }

    #[test]
    fn a_guest_gets_its_processors_and_its_memory() {
        let guests = |room: Room, cpus, memory| room.capacity(cpus, memory, None).guests;
        assert_eq!([1, 2, 3, 8, 9].map(|cpus| guests(room(8, 100_000), cpus, 256)), [8, 4, 2, 1, 1]);
        assert_eq!([100, 352, 704, 1055].map(|mib| guests(room(8, mib), 1, 256)), [1, 1, 2, 2]);
        assert_eq!(
            Room { processors: 3, memory_mib: None }.capacity(1, 256, None),
            Capacity { guests: 3, notice: None }
        );
    }

    #[test]
    fn a_notice_says_where_memory_is_short() {
        let notice = |room: Room, asked| room.capacity(1, 256, asked).notice;
        assert_eq!(notice(room(8, 8 * 352), None), None);
        assert_eq!(notice(room(1, 10), None), None, "one guest is always tried");
        assert_eq!(notice(room(2, 8 * 352), Some(8)), None);
        let fewer = notice(room(8, 1000), None).unwrap();
        assert!(fewer.starts_with("2 at a time instead of 8 guests: 1000 MiB of memory are available"), "{fewer}");
        let kept = room(8, 1000).capacity(1, 256, Some(4));
        assert_eq!(kept.guests, 4, "what the user asks for");
        assert!(kept.notice.unwrap().starts_with("4 guests at a time may be too many: 1000 MiB"));
    }

    /// A machine with 1 GiB available, and these files beside.
    fn available(cgroup: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let meminfo = ("proc/meminfo", "MemTotal: 4194304 kB\nMemFree: 9 kB\nMemAvailable: 1048576 kB\n");
        for (path, content) in [meminfo, ("proc/self/cgroup", cgroup)].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        available_mib(root.path())
    }

    #[test]
    fn the_least_limit_of_all_cgroups_counts() {
        const MIB: u64 = 1 << 20;
        assert_eq!(available("", &[]), Some(1024));
        assert_eq!(available("0::/a/b\n", &[("sys/fs/cgroup/a/b/memory.max", "max\n")]), Some(1024));
        let (limit, usage) = ((600 * MIB).to_string(), (300 * MIB).to_string());
        let stat = format!("anon 1\ninactive_file {}\n", 100 * MIB);
        let above = [
            ("sys/fs/cgroup/a/memory.max", limit.as_str()),
            ("sys/fs/cgroup/a/memory.current", usage.as_str()),
            ("sys/fs/cgroup/a/memory.stat", stat.as_str()),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ];
        assert_eq!(available("0::/a/b\n", &above), Some(400));
        // In a container, version 1 often shows the path of the host, and mounts the container's own cgroup at the root.
        let first = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", limit.as_str()),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", usage.as_str()),
        ];
        assert_eq!(available("3:cpu:/x\n8:memory:/docker/x\n0::/\n", &first), Some(300));
        let full = [("sys/fs/cgroup/memory.max", "1000"), ("sys/fs/cgroup/memory.current", "2000")];
        assert_eq!(available("0::/\n", &full), Some(0));
    }
}
