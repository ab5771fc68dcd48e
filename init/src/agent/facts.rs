//! Gathers the facts of the hello.

use std::fs;
use std::path::Path;

use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, sysconf};
use vmlab_protocol::message::{Hello, PROTOCOL, VirtioDevice};

use super::kernel_console::{self, KernelConsole};

/// The kernel's memory per zone (proc(5), Linux 2.6.13).
const ZONES: &str = "/proc/zoneinfo";

/// Makes the hello. An unreadable fact becomes a problem, never a guess.
pub(super) fn hello(modules: Vec<String>, console: &KernelConsole, mut problems: Vec<String>) -> Hello {
    let mut read = |path: &str| {
        fs::read_to_string(path).map(|text| text.trim_end().to_owned()).unwrap_or_else(|error| {
            problems.push(format!("cannot read {path}: {error}"));
            String::new()
        })
    };
    let command_line = read("/proc/cmdline");
    let memory_bytes = memory_bytes(&read(ZONES), page_bytes()).unwrap_or_else(|| {
        problems.push(format!("{ZONES} lists no zone with pages"));
        0
    });
    let names = uname();
    let name = |pick: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        names.as_ref().map(|names| pick(names).to_string_lossy().into_owned()).unwrap_or_default()
    };
    if let Err(error) = &names {
        problems.push(format!("uname: {error}"));
    }
    Hello {
        protocol: PROTOCOL,
        init_build: format!("vmlab-init {}", env!("CARGO_PKG_VERSION")),
        kernel_release: name(|names| names.release()),
        kernel_version: name(|names| names.version()),
        machine: name(|names| names.machine()),
        command_line,
        memory_bytes,
        cpus: online_cpus(&mut problems),
        virtio: virtio_devices(&mut problems),
        modules,
        console_level: console.level().unwrap_or_else(|why| {
            problems.push(why);
            0
        }),
        consoles: kernel_console::enabled().unwrap_or_else(|why| {
            problems.push(why);
            Vec::new()
        }),
        problems,
    }
}

/// The machine's whole memory. /proc/meminfo excludes memory that the kernel reserved during boot: an eighth of the
/// memory with KASAN, and most of it with KMSAN.
fn memory_bytes(zones: &str, page_bytes: u64) -> Option<u64> {
    let present = zones.lines().filter_map(|line| line.trim_start().strip_prefix("present"));
    let pages: u64 = present.map(|pages| pages.trim().parse::<u64>()).sum::<Result<_, _>>().ok()?;
    pages.checked_mul(page_bytes).filter(|&bytes| bytes > 0)
}

fn page_bytes() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default()
}

fn online_cpus(problems: &mut Vec<String>) -> u32 {
    let count = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or_else(|| {
        problems.push("cannot read the number of online processors".to_owned());
        0
    })
}

/// The devices in /sys/bus/virtio/devices (Documentation/ABI/testing/sysfs-bus-virtio, Linux 2.6.24).
fn virtio_devices(problems: &mut Vec<String>) -> Vec<VirtioDevice> {
    let devices = Path::new("/sys/bus/virtio/devices");
    let Ok(entries) = fs::read_dir(devices) else {
        problems.push("the kernel has no /sys/bus/virtio/devices".to_owned());
        return Vec::new();
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    names.iter().filter_map(|name| device(&devices.join(name), problems)).collect()
}

fn device(path: &Path, problems: &mut Vec<String>) -> Option<VirtioDevice> {
    let text = |name: &str| fs::read_to_string(path.join(name)).map(|text| text.trim_end().to_owned());
    let hex = |name: &str| {
        let text = text(name).ok()?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let device = (|| {
        Some(VirtioDevice {
            name: path.file_name()?.to_string_lossy().into_owned(),
            id: hex("device")?,
            features: text("features").ok()?,
            status: hex("status")?,
        })
    })();
    if device.is_none() {
        problems.push(format!("cannot read the attributes of {}", path.display()));
    }
    device
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_sum_of_all_zones_in_bytes() {
        let zones = "Node 0, zone      DMA\n  pages free     3840\n        spanned  4095\n        present  3998\n        managed  3840\n\
                     Node 0, zone    DMA32\n        present  61408\n        managed  51968\nNode 0, zone   Normal\n        present  0\n";
        assert_eq!(memory_bytes(zones, 4096), Some((3998 + 61408) * 4096));
        assert_eq!(memory_bytes("Node 0, zone   Normal\n        present  0\n", 4096), None);
        assert_eq!(memory_bytes("        present  many\n", 4096), None);
    }
}
