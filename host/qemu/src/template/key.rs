//! What a template is named by: everything that went into it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::accelerator::Accelerator;
use crate::argv::{self, Boot, Machine, Start};
use crate::qemu::Qemu;
use vmlab_store::hex;

/// Raised when templates of older versions are not to be used any more, although everything else is the same.
const FORMAT: u32 = 3;

/// The key of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    name: String,
    made_from: Value,
}

/// What a template depends on.
#[derive(Debug, Clone, Copy)]
pub struct Ingredients<'a> {
    /// Of the file that is booted: the bzImage, or the vmlinux that was in it.
    pub kernel_sha256: &'a str,
    /// Of the initramfs, and so of PID 1 and the modules.
    pub image_sha256: &'a str,
    /// The machine.
    pub machine: &'a Machine,
    /// How long PID 1 waits for the port: it is on the kernel's command line.
    pub port_timeout_ms: u64,
    /// The user's words on the kernel's command line.
    pub append: Option<&'a str>,
    /// Which QEMU.
    pub qemu: &'a Qemu,
}

impl Key {
    /// The key of these ingredients.
    #[must_use]
    pub fn of(ingredients: &Ingredients<'_>) -> Self {
        let Ingredients { kernel_sha256, image_sha256, machine, port_timeout_ms, append, qemu } = *ingredients;
        // Where the files lie does not matter; what is in them is in the key by its hash.
        let file = Path::new("file");
        let boot = Boot { kernel: file, initrd: file, port_timeout_ms, append };
        let arguments = argv::arguments(machine, Start::Template(boot, file), argv::DESCRIPTORS);
        let arguments: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        let made_from = json!({
            "format": FORMAT,
            "kernel_sha256": kernel_sha256,
            "image_sha256": image_sha256,
            "arguments": arguments,
            "qemu": qemu.identity,
            "host": host(machine.accelerator),
        });
        // An object's keys are sorted, so equal values are equal texts.
        let name = hex(&Sha256::digest(made_from.to_string()))[..32].to_owned();
        Self { name, made_from }
    }

    /// The directory's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was made from, for people.
    #[must_use]
    pub const fn made_from(&self) -> &Value {
        &self.made_from
    }
}

/// The host, where a guest depends on it: under KVM it has the host's processor and the host kernel's KVM.
fn host(accelerator: Accelerator) -> Value {
    if accelerator == Accelerator::Tcg {
        return Value::Null;
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |name: &str| cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({ "kernel": kernel.trim_end(), "cpu": line("model name"), "microcode": line("microcode"), "flags": line("flags") })
}
