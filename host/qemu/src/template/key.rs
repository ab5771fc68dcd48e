//! The key of a template: a hash of everything that the template depends on.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::accelerator::Accelerator;
use crate::argv::{self, Boot, Machine, Start};
use crate::devices::{Disk, node_memory_mib};
use crate::qemu::Qemu;
use vmlab_store::hex;

/// The version of templates. It increases when templates of older versions must not be used any more.
const FORMAT: u32 = 3;

/// The key of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    name: String,
    made_from: Value,
    node_memory_mib: Vec<u32>,
}

/// Everything that a template depends on.
#[derive(Debug, Clone, Copy)]
pub struct Ingredients<'a> {
    /// The SHA-256 of the booted file: the bzImage, or the vmlinux in it.
    pub kernel_sha256: &'a str,
    /// The SHA-256 of the initramfs, which contains PID 1 and the modules.
    pub image_sha256: &'a str,
    /// The virtual machine.
    pub machine: &'a Machine,
    /// PID 1's time limit for the port, which is on the kernel's command line.
    pub port_timeout_ms: u64,
    /// The user's parameters on the kernel's command line.
    pub append: Option<&'a str>,
    /// The QEMU.
    pub qemu: &'a Qemu,
}

impl Key {
    /// The key of these ingredients.
    #[must_use]
    pub fn of(ingredients: &Ingredients<'_>) -> Self {
        let Ingredients { kernel_sha256, image_sha256, machine, port_timeout_ms, append, qemu } = *ingredients;
        // The paths of files do not matter, only their hashes.
        let file = Path::new("file");
        let boot = Boot { kernel: file, initrd: file, port_timeout_ms, append };
        let files = vec![file.to_owned(); machine.nodes.max(1) as usize];
        let disk = |disk: &Disk| Disk { file: PathBuf::from(&disk.identity), ..disk.clone() };
        let machine = Machine { disks: machine.disks.iter().map(disk).collect(), ..machine.clone() };
        let arguments = argv::arguments(&machine, qemu.version, Start::Template(boot, &files), argv::DESCRIPTORS);
        let arguments: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        let made_from = json!({
            "format": FORMAT,
            "kernel_sha256": kernel_sha256,
            "image_sha256": image_sha256,
            "arguments": arguments,
            "qemu": qemu.identity,
            "host": host(machine.accelerator),
        });
        // The keys of an object are sorted, so equal values have equal texts.
        let name = hex(&Sha256::digest(made_from.to_string()))[..32].to_owned();
        Self { name, made_from, node_memory_mib: node_memory_mib(machine.memory_mib, machine.nodes) }
    }

    /// The name of the template's directory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The size of the guest's memory, in bytes for each node.
    pub(super) fn node_memory(&self) -> impl Iterator<Item = u64> {
        self.node_memory_mib.iter().map(|&mib| u64::from(mib) << 20)
    }

    /// The ingredients as JSON.
    #[must_use]
    pub const fn made_from(&self) -> &Value {
        &self.made_from
    }
}

/// The host's properties that a guest depends on: under KVM, the host's processor and kernel.
fn host(accelerator: Accelerator) -> Value {
    if accelerator == Accelerator::Tcg {
        return Value::Null;
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |name: &str| cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({ "kernel": kernel.trim_end(), "cpu": line("model name"), "microcode": line("microcode"), "flags": line("flags") })
}
