//! Unpacks the vmlinux from a bzImage, to boot it instead of the bzImage.
//!
//! A bzImage decompresses its kernel and enters it, which takes a large part of a boot under an emulator. CPU seconds
//! of QEMU 7.2 (TCG) from start to the agent's hello, bzImage against vmlinux, medians of three: 2.60 against 2.40 on
//! stock 5.10, 3.10 against 2.36 on 6.1, 4.55 against 2.99 on 6.12, 4.49 against 3.79 on 7.3. vmlab therefore
//! decompresses the kernel once, and QEMU enters it through its PVH note. Under KVM the decompressor takes some ms, and
//! vmlab boots the bzImage.
//!
//! Without the decompressor the kernel's text is at its linked address, because the decompressor chooses the random
//! physical and virtual base (`choose_random_location` in arch/x86/boot/compressed/kaslr.c). The kernel itself chooses
//! the regions of the direct map, vmalloc and vmemmap (arch/x86/mm/kaslr.c).

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Kernel;
use crate::file::{Image, Section};
use vmlab_qemu::accelerator::Accelerator;
use vmlab_qemu::argv::Machine;
use vmlab_store::CacheError;
use vmlab_store::blob::{self, Blob, BlobDir};
use vmlab_store::cache::{EntryKind, Listing};
use vmlab_store::lease::Lease;
use vmlab_store::stat_cache::{FACTS, Fact};
use vmlab_store::warnings::CacheWarnings;

mod lz4;
mod payload;

/// Unpacking a kernel again takes one or two seconds.
pub static UNPACKED: EntryKind = EntryKind {
    name: "unpacked",
    plural: "unpacked",
    help: "Kernels unpacked from bzImages and UKIs",
    rank: Some(2),
    list,
};

/// Unpacked kernels: `unpacked/RELEASE-SHA256.vmlinux`, with the hash of the bzImage.
const BLOBS: BlobDir = BlobDir { directory: "unpacked", suffix: ".vmlinux", kind: &UNPACKED };

/// Kernels taken from unified kernel images: `uki/RELEASE-SHA256.bzimage`, with the hash of the image.
const FROM_UKI: BlobDir = BlobDir { directory: "uki", suffix: ".bzimage", kind: &UNPACKED };

/// The kind of facts about unpacking. The number increases when a new version of vmlab can give another answer.
const FACT_KIND: &str = "vmlinux 2";

/// The file for QEMU's `-kernel`.
#[derive(Debug, Clone)]
pub struct BootFile {
    /// A bzImage, or a vmlinux with a PVH note.
    pub path: PathBuf,
    /// The SHA-256 of that file, in hexadecimal.
    pub sha256: String,
    /// Keeps an unpacked kernel in the cache while it is used.
    pub lease: Option<Lease>,
}

/// The result of unpacking a kernel's file.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// The SHA-256 of the kernel's file.
    kernel_sha256: String,
    /// The SHA-256 of the vmlinux in it, or the reason why QEMU cannot boot it.
    vmlinux_sha256: Result<String, String>,
}

/// The file that QEMU boots: the vmlinux in the kernel's file if that is possible and faster, otherwise the kernel's
/// file. A bzImage that cannot be unpacked may still boot; if not, the guest's console shows the reason. Blocks for
/// some seconds the first time. If the cache cannot store the vmlinux, the bzImage is booted, which only takes longer.
#[must_use]
pub fn boot_file(kernel: &Kernel, machine: &Machine, cache: &Path) -> (BootFile, CacheWarnings) {
    let mut warnings = CacheWarnings::default();
    let own = BootFile { path: kernel.path.clone(), sha256: kernel.sha256.clone(), lease: kernel.lease.clone() };
    if machine.accelerator == Accelerator::Kvm {
        return (own, warnings);
    }
    let unpacked = unpacked(kernel, cache, &mut warnings);
    (unpacked.filter(|file| fits(file, machine)).unwrap_or(own), warnings)
}

/// Whether the guest's memory is large enough for a vmlinux, which is loaded at 16 MiB and above, and for the kernel's
/// own allocations. With less memory the bzImage's decompressor ends the guest at once, whereas a vmlinux hangs without
/// output (seen with 5.10 in 16 MiB).
fn fits(file: &BootFile, machine: &Machine) -> bool {
    let memory_bytes = u64::from(machine.memory_mib) << 20;
    fs::metadata(&file.path).is_ok_and(|file| file.len() <= memory_bytes / 2)
}

/// The vmlinux in a kernel's file, from the cache or unpacked now; `None` if QEMU cannot boot it.
fn unpacked(kernel: &Kernel, cache: &Path, warnings: &mut CacheWarnings) -> Option<BootFile> {
    let name = format!("{}-{}", kernel.release, kernel.sha256);
    let files = [kernel.path.as_path()];
    let fact = Fact::new(cache, FACT_KIND, &files);
    let known = fact.get::<Answer>().filter(|answer| answer.kernel_sha256 == kernel.sha256);
    match known.map(|answer| answer.vmlinux_sha256) {
        Some(Err(_)) => return None,
        Some(Ok(sha256)) => {
            if let Some(blob) = BLOBS.find(cache, &name, &sha256) {
                return Some(blob.into());
            }
        }
        None => {}
    }
    // If the kernel's file cannot be read or has changed, QEMU or the guest will report it.
    let packed = read(&kernel.path).ok().filter(|bytes| hash(bytes) == kernel.sha256)?;
    let answer = |vmlinux_sha256| Answer { kernel_sha256: kernel.sha256.clone(), vmlinux_sha256 };
    let (answer, file) = match payload::vmlinux(&packed, &kernel.release) {
        Ok(vmlinux) => {
            let blob = warnings.note("the unpacked kernel", BLOBS.put(cache, &name, &vmlinux))?;
            warnings.grown |= blob.new;
            (answer(Ok(blob.sha256.clone())), Some(blob.into()))
        }
        Err(why) => (answer(Err(why.to_string())), None),
    };
    warnings.note(FACTS, fact.put(&answer));
    file
}

impl From<Blob> for BootFile {
    fn from(Blob { path, sha256, lease, .. }: Blob) -> Self {
        Self { path, sha256, lease }
    }
}

/// The kernel in a section of a unified kernel image with this hash, as a file of the cache.
///
/// # Errors
/// The image cannot be read, or the cache cannot store the kernel.
pub(crate) fn from_uki(
    uki: &Path,
    uki_sha256: &str,
    image: &Image,
    section: Section,
    cache: &Path,
) -> Result<Blob, CacheError> {
    let read = || {
        let mut file = File::open(uki)?;
        file.seek(SeekFrom::Start(section.offset))?;
        let mut bytes = Vec::new();
        file.take(section.length.min(payload::LIMIT_BYTES)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(CacheError::on("read", uki))?;
    FROM_UKI.put(cache, &format!("{}-{uki_sha256}", image.release), &bytes)
}

fn list(cache: &Path) -> Listing {
    let lists = [(BLOBS, "bzImage"), (FROM_UKI, "unified kernel image")].map(|(blobs, source)| {
        blobs.list(cache, |name| {
            let (release, sha256) = name.rsplit_once('-').unwrap_or(("", name));
            format!("{release} from the {source} {}", blob::short(sha256))
        })
    });
    let mut listing = Listing::default();
    listing.extend(lists);
    listing
}

/// Reads a bzImage, or only the head of any other file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, mut bytes) = (File::open(path)?, Vec::new());
    file.by_ref().take(payload::HEAD_BYTES).read_to_end(&mut bytes)?;
    if payload::is_bzimage(&bytes) {
        file.take(payload::LIMIT_BYTES).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn hash(bytes: &[u8]) -> String {
    vmlab_store::hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
