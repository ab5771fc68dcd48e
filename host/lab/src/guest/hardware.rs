//! Compares the guest's kernel and devices with the requested machine.

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_ACCESS_PLATFORM,
    VIRTIO_F_IN_ORDER, VIRTIO_F_RING_PACKED, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ids::{
    VIRTIO_ID_BALLOON, VIRTIO_ID_BLOCK, VIRTIO_ID_CONSOLE, VIRTIO_ID_NET, VIRTIO_ID_RNG, VIRTIO_ID_SCSI,
    VIRTIO_ID_VSOCK,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vmlab_protocol::message::{CONSOLE_LEVEL, Hello, VirtioDevice};

use vmlab_events::verdict::Mismatch;
use vmlab_qemu::argv::{self, Machine};

/// The part of the requested memory that the firmware may reserve, so that it is missing in the kernel's zones.
const MEMORY_KEPT_MIB: u64 = 16;

/// Compares the guest with what was asked for: kernel, CPUs, memory, virtio devices.
///
/// # Errors
/// The first [`Mismatch`].
pub(crate) fn check(hello: &Hello, release: &str, machine: &Machine) -> Result<(), Mismatch> {
    if hello.kernel_release != release {
        return Err(Mismatch::Release { guest: hello.kernel_release.clone(), asked: release.to_owned() });
    }
    if hello.cpus != machine.cpus {
        return Err(Mismatch::Cpus { guest: hello.cpus, asked: machine.cpus });
    }
    let (asked_mib, guest_mib) = (u64::from(machine.memory_mib), hello.memory_bytes >> 20);
    if guest_mib > asked_mib || guest_mib + MEMORY_KEPT_MIB < asked_mib {
        return Err(Mismatch::Memory { guest_mib, asked_mib });
    }
    let consoles: Vec<_> = hello.virtio.iter().filter(|device| device.id == VIRTIO_ID_CONSOLE).collect();
    let [console] = consoles.as_slice() else {
        return Err(Mismatch::Consoles { count: consoles.len() });
    };
    usable(console)?;
    prints_warnings(hello)
}

/// Whether the kernel prints on the console that is read.
///
/// # Errors
/// [`Mismatch::OtherConsole`]
pub(crate) fn prints_on_console(hello: &Hello) -> Result<(), Mismatch> {
    if hello.consoles.iter().any(|name| name == argv::CONSOLE) {
        return Ok(());
    }
    Err(Mismatch::OtherConsole { needed: argv::CONSOLE.to_owned(), used: hello.consoles.clone() })
}

/// Whether the kernel's warnings come out on the console that is read.
fn prints_warnings(hello: &Hello) -> Result<(), Mismatch> {
    prints_on_console(hello)?;
    let level = hello.console_level;
    if level < CONSOLE_LEVEL {
        return Err(Mismatch::ConsoleLevel { level, needed: CONSOLE_LEVEL });
    }
    Ok(())
}

/// Whether a device is driven, by the rules of virtio 1.x (sections 2.1 and 6).
fn usable(device: &VirtioDevice) -> Result<(), Mismatch> {
    let (name, status) = (describe(device), device.status);
    if status & VIRTIO_CONFIG_S_DRIVER_OK == 0 {
        return Err(Mismatch::NoDriver { device: name, status });
    }
    if status & (VIRTIO_CONFIG_S_FAILED | VIRTIO_CONFIG_S_NEEDS_RESET) != 0 {
        return Err(Mismatch::DeviceFailed { device: name, status });
    }
    if !negotiated(device, VIRTIO_F_VERSION_1) {
        return Err(Mismatch::LegacyDevice { device: name });
    }
    Ok(())
}

/// A description of a device in one line: `virtio0 console: VERSION_1 EVENT_IDX`.
#[must_use]
pub fn describe(device: &VirtioDevice) -> String {
    let kind = match device.id {
        VIRTIO_ID_NET => "network card",
        VIRTIO_ID_BLOCK => "disk",
        VIRTIO_ID_CONSOLE => "console",
        VIRTIO_ID_RNG => "rng",
        VIRTIO_ID_BALLOON => "balloon",
        VIRTIO_ID_SCSI => "SCSI host",
        VIRTIO_ID_VSOCK => "vsock",
        _ => "device",
    };
    let known = [
        ("VERSION_1", VIRTIO_F_VERSION_1),
        ("ACCESS_PLATFORM", VIRTIO_F_ACCESS_PLATFORM),
        ("RING_PACKED", VIRTIO_F_RING_PACKED),
        ("IN_ORDER", VIRTIO_F_IN_ORDER),
        ("INDIRECT_DESC", VIRTIO_RING_F_INDIRECT_DESC),
        ("EVENT_IDX", VIRTIO_RING_F_EVENT_IDX),
    ];
    let features: Vec<_> = known.iter().filter(|(_, bit)| negotiated(device, *bit)).map(|(name, _)| *name).collect();
    format!("{} {kind} (id {}): {}", device.name, device.id, features.join(" "))
}

/// Whether a feature was negotiated. The kernel prints bit 0 first.
fn negotiated(device: &VirtioDevice, bit: u32) -> bool {
    usize::try_from(bit).ok().and_then(|at| device.features.as_bytes().get(at)) == Some(&b'1')
}
