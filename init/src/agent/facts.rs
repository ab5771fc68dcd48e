//! What the hello says about the guest.

use std::fs;
use std::path::Path;

use nix::sys::utsname::uname;
use vmlab_protocol::message::{Hello, PROTOCOL, VirtioDevice};

use super::kernel_console::{self, KernelConsole};

/// Gathers the hello. What cannot be read becomes a problem, never a guess.
pub(super) fn hello(modules: Vec<String>, console: &KernelConsole, mut problems: Vec<String>) -> Hello {
    let mut read = |path: &str| {
        fs::read_to_string(path).map(|text| text.trim_end().to_owned()).unwrap_or_else(|error| {
            problems.push(format!("cannot read {path}: {error}"));
            String::new()
        })
    };
    let command_line = read("/proc/cmdline");
    let memory_bytes = memory_bytes(&read("/proc/meminfo")).unwrap_or_else(|| {
        problems.push("no MemTotal in /proc/meminfo".to_owned());
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

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn online_cpus(problems: &mut Vec<String>) -> u32 {
    let count = std::thread::available_parallelism().map(usize::from);
    count.ok().and_then(|count| u32::try_from(count).ok()).unwrap_or_else(|| {
        problems.push("cannot tell how many processors there are".to_owned());
        0
    })
}

/// What the kernel shows under /sys/bus/virtio/devices (Documentation/ABI/testing/sysfs-bus-virtio, Linux 2.6.24).
fn virtio_devices(problems: &mut Vec<String>) -> Vec<VirtioDevice> {
    let Ok(entries) = fs::read_dir("/sys/bus/virtio/devices") else {
        problems.push("the kernel shows no virtio bus".to_owned());
        return Vec::new();
    };
    let mut devices: Vec<_> = entries.flatten().filter_map(|entry| device(&entry.path(), problems)).collect();
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    devices
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
    fn memory_is_read_in_bytes() {
        assert_eq!(memory_bytes("MemTotal:         223424 kB\nMemFree: 1 kB\n"), Some(223_424 * 1024));
        assert_eq!(memory_bytes("MemFree: 1 kB\n"), None);
    }
}
