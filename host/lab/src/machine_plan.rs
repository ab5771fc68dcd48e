//! What the user wants a guest's machine to have besides processors and memory, and how it becomes a machine.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use vmlab_image::recipe::Part;
use vmlab_kernel::Kernel;
use vmlab_qemu::accelerator::Accelerator;
use vmlab_qemu::devices::{Disk, DiskFormat};

/// What a guest's machine has besides processors and memory. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachinePlan {
    /// A network card that reaches what this machine reaches.
    pub network: bool,
    /// Guests of its own.
    pub nested: bool,
    /// The number of NUMA nodes; None for one.
    pub nodes: Option<u32>,
    /// Disks, in order.
    pub disks: Vec<DiskPlan>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskPlan {
    /// An empty one of so many bytes.
    Empty(u64),
    /// One with the contents of a file, which does not change.
    File(PathBuf),
}

/// A machine that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A file cannot be a disk.
    #[error("cannot use {path} as a disk: {error}; --disk takes a size with its unit, as 512M, or a file in raw or qcow2 format", path = path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// The system's error, or what is wrong with the file.
        error: io::Error,
    },
    /// The file of an empty disk cannot be made.
    #[error("cannot make the file of an empty disk of {bytes} bytes in {dir}: {error}", dir = std::env::temp_dir().display())]
    Empty {
        /// The size.
        bytes: u64,
        /// The system's error.
        error: io::Error,
    },
    /// Nodes without enough memory.
    #[error(
        "{nodes} NUMA nodes need {needed} MiB of memory at least, and the guest has {memory_mib}: give a larger --memory"
    )]
    Nodes {
        /// The number of nodes.
        nodes: u32,
        /// The least memory for them, in MiB.
        needed: u32,
        /// The guest's memory, in MiB.
        memory_mib: u32,
    },
    /// The kernel of this machine does not pass virtualisation on.
    #[error(
        "--nested needs a KVM that passes virtualisation on to its guests, and this machine's does not: set the parameter `nested` \
         of kvm_intel or kvm_amd, or give --accel tcg"
    )]
    NotNested,
    /// A kernel has no driver for what is wanted.
    #[error(
        "{kernel}: its config lacks {symbols}, which {option} needs: name another kernel, or add `+{first}=y` to one that vmlab \
         builds", symbols = .symbols.join(" and "), first = .symbols.first().map_or("", |symbol| symbol)
    )]
    NoDriver {
        /// The kernel's label.
        kernel: String,
        /// The option.
        option: &'static str,
        /// The config symbols that are not set.
        symbols: Vec<&'static str>,
    },
}

/// The least memory of a node, in MiB: a kernel gives up in smaller ones.
const NODE_MIB: u32 = 64;

/// Disks that QEMU can open, and what keeps them.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    pub(crate) disks: Vec<Disk>,
    /// Files without names, which QEMU opens below /proc.
    _unnamed: Vec<File>,
}

impl MachinePlan {
    /// The number of nodes.
    pub(crate) fn nodes(&self, memory_mib: u32) -> Result<u32, MachineError> {
        let nodes = self.nodes.unwrap_or(1);
        let needed = nodes.saturating_mul(NODE_MIB);
        if nodes > 1 && needed > memory_mib {
            return Err(MachineError::Nodes { nodes, needed, memory_mib });
        }
        Ok(nodes)
    }

    /// The size of all disks, in bytes; a file that cannot be read has none.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let bytes = |plan: &DiskPlan| match plan {
            DiskPlan::Empty(bytes) => *bytes,
            DiskPlan::File(path) => of_file(path).map_or(0, |(_, bytes)| bytes),
        };
        self.disks.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Opens the disks.
    pub(crate) fn disks(&self) -> Result<Disks, MachineError> {
        let mut disks = Disks::default();
        for plan in &self.disks {
            match plan {
                DiskPlan::File(path) => {
                    let (disk, _) = of_file(path).map_err(|error| MachineError::Disk { path: path.clone(), error })?;
                    disks.disks.push(disk);
                }
                DiskPlan::Empty(bytes) => {
                    let failed = |error| MachineError::Empty { bytes: *bytes, error };
                    let file = tempfile::tempfile().map_err(failed)?;
                    file.set_len(*bytes).map_err(failed)?;
                    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
                    let identity = format!("empty:{bytes}");
                    disks.disks.push(Disk { file: path.into(), format: DiskFormat::Raw, identity });
                    disks._unnamed.push(file);
                }
            }
        }
        Ok(disks)
    }

    /// What a guest image needs for this.
    pub(crate) fn parts(&self, accelerator: Accelerator) -> Vec<Part> {
        let amd = accelerator == Accelerator::Tcg || Path::new("/sys/module/kvm_amd").exists();
        let nested = if amd { Part::NestedAmd } else { Part::NestedIntel };
        [(self.network, Part::Network), (!self.disks.is_empty(), Part::Disks), (self.nested, nested)]
            .into_iter()
            .filter_map(|(wanted, part)| wanted.then_some(part))
            .collect()
    }

    /// Checks what this machine and a kernel must have. A kernel without a known config may have everything.
    pub(crate) fn check(&self, accelerator: Accelerator, kernel: &Kernel) -> Result<(), MachineError> {
        if self.nested && accelerator == Accelerator::Kvm && !passes_virtualisation_on() {
            return Err(MachineError::NotNested);
        }
        let Some(config) = &kernel.config else { return Ok(()) };
        let kvm =
            if self.parts(accelerator).contains(&Part::NestedIntel) { "CONFIG_KVM_INTEL" } else { "CONFIG_KVM_AMD" };
        let needs: [(bool, &'static str, &[&'static str]); 4] = [
            (self.network, "--net", &["CONFIG_VIRTIO_NET", "CONFIG_INET"]),
            (!self.disks.is_empty(), "--disk", &["CONFIG_VIRTIO_BLK"]),
            (self.nodes.is_some_and(|nodes| nodes > 1), "--numa", &["CONFIG_NUMA", "CONFIG_ACPI_NUMA"]),
            (self.nested, "--nested", &[kvm]),
        ];
        for (wanted, option, symbols) in needs {
            let symbols: Vec<_> = symbols.iter().copied().filter(|symbol| !config.enabled(symbol)).collect();
            if wanted && !symbols.is_empty() {
                return Err(MachineError::NoDriver { kernel: kernel.label.clone(), option, symbols });
            }
        }
        Ok(())
    }
}

/// Whether the KVM of this machine's kernel lets guests have guests (parameters of kvm_intel and kvm_amd).
fn passes_virtualisation_on() -> bool {
    ["kvm_amd", "kvm_intel"].iter().any(|module| {
        let value = fs::read_to_string(format!("/sys/module/{module}/parameters/nested"));
        value.is_ok_and(|value| matches!(value.trim_end(), "1" | "Y"))
    })
}

/// The disk that a file is, and its size in bytes.
fn of_file(path: &Path) -> io::Result<(Disk, u64)> {
    let path = path.canonicalize()?;
    let file = File::open(&path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut head = Vec::new();
    file.take(Qcow2::HEADER as u64).read_to_end(&mut head)?;
    let format = DiskFormat::of_head(&head);
    let bytes = match format {
        DiskFormat::Raw => metadata.len(),
        DiskFormat::Qcow2 => Qcow2::read(&head).check()?,
    };
    let (device, inode, size) = (metadata.dev(), metadata.ino(), metadata.len());
    let (changed, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
    let identity = format!("{}:{device}:{inode}:{size}:{changed}.{nanoseconds}", path.display());
    Ok((Disk { format, identity, file: path }, bytes))
}

/// What vmlab reads of a qcow2 file's header (QEMU's docs/interop/qcow2.txt).
struct Qcow2 {
    has_backing_file: bool,
    bytes: u64,
    has_data_file: bool,
}

impl Qcow2 {
    /// The part of the header that is read, in bytes.
    const HEADER: usize = 80;
    /// The bit of the incompatible features for a file with the data.
    const DATA_FILE: u64 = 1 << 2;

    /// A short header counts as zeros, and QEMU refuses the file.
    fn read(head: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = head.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u64::from_be_bytes)
        };
        let version = head.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        Self {
            has_backing_file: number(8) != 0,
            bytes: number(24),
            has_data_file: version >= 3 && number(72) & Self::DATA_FILE != 0,
        }
    }

    /// The size of the disk, in bytes. QEMU would open other files that the file names: a file that a guest has written could so show
    /// any file of this machine's.
    fn check(&self) -> io::Result<u64> {
        if self.has_backing_file || self.has_data_file {
            let why =
                "its contents are in another file that it names; make a whole one, with `qemu-img convert -O qcow2`";
            return Err(io::Error::other(why));
        }
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(disks: Vec<DiskPlan>) -> MachinePlan {
        MachinePlan { disks, ..MachinePlan::default() }
    }

    #[test]
    fn a_file_that_changed_is_another_disk() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        let disk = || plan(vec![DiskPlan::File(file.clone())]).disks().unwrap().disks;
        fs::write(&file, "a").unwrap();
        let first = disk();
        assert_eq!(first, disk());
        assert_eq!(first[0].format, DiskFormat::Raw);
        fs::write(&file, b"QFI\xfb").unwrap();
        assert_ne!(first[0].identity, disk()[0].identity);
        assert_eq!(disk()[0].format, DiskFormat::Qcow2);
    }

    #[test]
    fn an_image_that_names_another_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        let image = |changes: &[(usize, u8)]| {
            let mut head = vec![0; 200];
            head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
            head[29] = 16;
            changes.iter().for_each(|&(at, value)| head[at] = value);
            fs::write(&file, head).unwrap();
            plan(vec![DiskPlan::File(file.clone())])
        };
        let whole = image(&[]);
        assert_eq!((whole.disks().unwrap().disks.len(), whole.disk_bytes()), (1, 16 << 16));
        for changes in [(15, 1), (8, 1), (79, 4), (79, 7)] {
            let error = image(&[changes]).disks().unwrap_err().to_string();
            assert!(error.contains("in another file that it names"), "{changes:?}: {error}");
        }
        assert!(image(&[(79, 3)]).disks().is_ok(), "other features");
    }

    #[test]
    fn an_empty_disk_has_no_name_and_its_size() {
        let disks = plan(vec![DiskPlan::Empty(1 << 40)]).disks().unwrap();
        assert_eq!(fs::metadata(&disks.disks[0].file).unwrap().len(), 1 << 40);
        assert_eq!(disks.disks[0].identity, "empty:1099511627776");
    }

    #[test]
    fn what_cannot_be_a_disk_is_an_error() {
        for path in ["/none", "/proc"] {
            let error = plan(vec![DiskPlan::File(path.into())]).disks().unwrap_err().to_string();
            assert!(error.contains(path) && error.contains("raw or qcow2"), "{error}");
        }
    }

    #[test]
    fn nodes_need_memory() {
        let nodes = |nodes, memory| MachinePlan { nodes, ..MachinePlan::default() }.nodes(memory);
        assert_eq!(nodes(None, 16).unwrap(), 1);
        assert_eq!(nodes(Some(1), 16).unwrap(), 1);
        assert_eq!(nodes(Some(4), 256).unwrap(), 4);
        assert!(nodes(Some(4), 255).unwrap_err().to_string().contains("need 256 MiB"));
    }
}
