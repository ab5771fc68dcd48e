//! Devices that a guest has on the user's request, and its NUMA nodes. Pure.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use vmlab_protocol::command::Network;

use super::accelerator::Accelerator;

/// A disk. The guest's writes go to a file of QEMU's own, which has no name and ends with QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The file with the contents.
    pub file: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// What identifies the contents, for the key of a template: a kernel reads disks when it boots.
    pub identity: String,
}

/// The format of a disk's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// The contents themselves.
    Raw,
    /// QEMU's own format.
    Qcow2,
}

impl DiskFormat {
    /// The beginning of a file in QEMU's own format ("QFI\xfb", docs/interop/qcow2.txt).
    const QCOW2: [u8; 4] = *b"QFI\xfb";

    /// The format of a file that begins with these bytes.
    #[must_use]
    pub fn of_head(head: &[u8]) -> Self {
        if head.starts_with(&Self::QCOW2) { Self::Qcow2 } else { Self::Raw }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// The arguments of the user network: the guest reaches what this machine reaches, and nothing reaches the guest. Without IPv6, for
/// which the guest's kernel would wait for advertisements.
pub(crate) const NETWORK: [&str; 4] =
    ["-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56,romfile="];

/// The arguments of a card whose other end is that of a second guest. Both guests may be forks of one template, whose device
/// state has the card's address: the guests set their own.
pub(crate) fn link(fd: i32) -> [String; 4] {
    ["-netdev", "socket,id=link,fd=", "-device", "virtio-net-pci,netdev=link,mac=52:54:00:12:34:57,romfile="]
        .map(|word| if word.ends_with("fd=") { format!("{word}{fd}") } else { word.to_owned() })
}

/// What the guest knows of the user network (QEMU's manual, "Using the user mode network stack"). Without udev the first card of a
/// guest is eth0.
#[must_use]
pub fn user_network() -> Network {
    let address = |last| Ipv4Addr::new(10, 0, 2, last);
    Network {
        device: "eth0".to_owned(),
        address: address(15),
        mask: Ipv4Addr::new(255, 255, 255, 0),
        gateway: address(2),
        resolver: address(3),
    }
}

/// The arguments of disks. They are /dev/vda, /dev/vdb and so on in the guest.
pub(crate) fn disks(disks: &[Disk]) -> Vec<OsString> {
    let mut args = Vec::new();
    for (number, disk) in disks.iter().enumerate() {
        let mut drive = OsString::from(format!(
            "if=none,id=disk{number},format={},snapshot=on,discard=unmap,file=",
            disk.format.name()
        ));
        drive.push(escaped(&disk.file));
        args.extend(["-drive".into(), drive]);
        // An error of this machine's disk is one of the guest's disk. By default QEMU would stop the guest.
        let device = format!("virtio-blk-pci,drive=disk{number},serial=vmlab-{number},werror=report,rerror=report");
        args.extend(["-device".into(), device.into()]);
    }
    args
}

/// QEMU reads a doubled comma as a comma in a value (qemu(1), "-object").
pub(crate) fn escaped(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes().iter();
    OsString::from_vec(bytes.flat_map(|&byte| std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 })).collect())
}

/// The property of the CPU model with which a guest can have guests of its own. Processors of AMD are emulated, whose nested page
/// tables QEMU 7.2 walks with four levels only.
pub(crate) const fn nested(accelerator: Accelerator) -> Option<&'static str> {
    match accelerator {
        Accelerator::Tcg => Some("la57=off"),
        // The processor of this machine has it, if this machine's KVM passes it on.
        Accelerator::Kvm => None,
    }
}

/// The memory of each of `nodes` nodes, in MiB: equal parts, and the last one has the rest.
#[must_use]
pub fn node_memory_mib(memory_mib: u32, nodes: u32) -> Vec<u32> {
    let nodes = nodes.max(1);
    let part = memory_mib / nodes;
    (1..=nodes).map(|node| if node == nodes { memory_mib - part * (nodes - 1) } else { part }).collect()
}

/// The processors of each of `nodes` nodes. With more nodes than processors, the last nodes have none.
fn node_cpus(cpus: u32, nodes: u32) -> Vec<std::ops::Range<u32>> {
    let (part, rest) = (cpus / nodes, cpus % nodes);
    let start = |node: u32| node * part + node.min(rest);
    (0..nodes).map(|node| start(node)..start(node + 1)).collect()
}

/// The name of the memory of a node among QEMU's objects.
pub(crate) fn memory_id(node: usize) -> String {
    format!("ram{node}")
}

/// The arguments that make nodes of memory and processors; none for one node.
pub(crate) fn numa(cpus: u32, nodes: u32) -> Vec<String> {
    if nodes < 2 {
        return Vec::new();
    }
    let mut args = Vec::new();
    for (node, cpus) in node_cpus(cpus, nodes).into_iter().enumerate() {
        let mut value = format!("node,nodeid={node},memdev={}", memory_id(node));
        if !cpus.is_empty() {
            value += &format!(",cpus={}-{}", cpus.start, cpus.end - 1);
        }
        args.extend(["-numa".to_owned(), value]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_read_from_the_file_because_a_guest_could_forge_a_probed_one() {
        assert_eq!(DiskFormat::of_head(b"QFI\xfb\0\0\0\x03"), DiskFormat::Qcow2);
        assert_eq!(DiskFormat::of_head(b""), DiskFormat::Raw);
        assert_eq!(DiskFormat::of_head(b"QFI"), DiskFormat::Raw);
    }

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        let disk = Disk { file: "/a,b".into(), format: DiskFormat::Raw, identity: String::new() };
        let args = disks(&[disk]);
        assert_eq!(args[1], "if=none,id=disk0,format=raw,snapshot=on,discard=unmap,file=/a,,b");
        assert!(args[3].to_str().unwrap().contains("werror=report"));
    }

    #[test]
    fn nodes_share_memory_and_processors() {
        assert_eq!(node_memory_mib(1000, 3), [333, 333, 334]);
        assert_eq!(node_memory_mib(512, 1), [512]);
        assert_eq!(node_cpus(5, 2), [0..3, 3..5]);
        assert_eq!(node_cpus(1, 3), [0..1, 1..1, 1..1]);
        assert_eq!(numa(4, 1), Vec::<String>::new());
        let two = ["-numa", "node,nodeid=0,memdev=ram0,cpus=0-0", "-numa", "node,nodeid=1,memdev=ram1"];
        assert_eq!(numa(1, 2), two);
    }
}
