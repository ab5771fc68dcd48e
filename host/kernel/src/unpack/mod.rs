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
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Kernel;
use vmlab_qemu::accel::Accelerator;
use vmlab_qemu::argv::Machine;
use vmlab_store::cache::Kind;
use vmlab_store::cache::entry::Found;
use vmlab_store::hold::Hold;
use vmlab_store::keeping::Keeping;
use vmlab_store::memo::{self, Memo};
use vmlab_store::shelf::{self, Shelf};

mod lz4;
mod payload;

/// Unpacked kernels are in `unpacked/RELEASE-SHA256.vmlinux`, with the hash of the bzImage.
const SHELF: Shelf = Shelf { directory: "unpacked", suffix: ".vmlinux", kind: Kind::Unpacked };

/// What was found out is remembered under this; its number is raised when another vmlab could find out otherwise.
const MEMO: &str = "vmlinux 1";

/// The file for QEMU's `-kernel`.
#[derive(Debug, Clone)]
pub struct BootFile {
    /// A bzImage, or a vmlinux with a PVH note.
    pub path: PathBuf,
    /// The SHA-256 of that file, in hexadecimal.
    pub sha256: String,
    /// Keeps an unpacked one in the cache while it is used.
    pub hold: Option<Hold>,
}

/// What came of looking into a kernel's file.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Of the kernel's file.
    kernel_sha256: String,
    /// Of the vmlinux in it, or why there is none to boot.
    vmlinux_sha256: Result<String, String>,
}

/// The file to boot a kernel from: its vmlinux if this is faster and possible, else the kernel file itself. A bzImage
/// that cannot be unpacked may still boot; if not, the guest's console says why. Blocks for some seconds the first
/// time. If the cache cannot store the vmlinux, the bzImage is booted.
#[must_use]
pub fn boot_file(kernel: &Kernel, machine: &Machine, cache: &Path) -> (BootFile, Keeping) {
    let mut keeping = Keeping::default();
    let own = BootFile { path: kernel.path.clone(), sha256: kernel.sha256.clone(), hold: kernel.hold.clone() };
    if machine.accelerator == Accelerator::Kvm {
        return (own, keeping);
    }
    let unpacked = unpacked(kernel, cache, &mut keeping);
    (unpacked.filter(|file| fits(file, machine)).unwrap_or(own), keeping)
}

/// Whether the guest's memory is large enough for a vmlinux, which is loaded at 16 MiB and above, and for the kernel's
/// own allocations. With less memory the bzImage's decompressor ends the guest at once, whereas a vmlinux hangs without
/// output (seen with 5.10 in 16 MiB).
fn fits(file: &BootFile, machine: &Machine) -> bool {
    let memory_bytes = u64::from(machine.memory_mib) << 20;
    fs::metadata(&file.path).is_ok_and(|file| file.len() <= memory_bytes / 2)
}

/// The vmlinux of a kernel, from the cache or unpacked now; `None` if there is no bootable vmlinux.
fn unpacked(kernel: &Kernel, cache: &Path, keeping: &mut Keeping) -> Option<BootFile> {
    let place = SHELF.place(cache, &format!("{}-{}", kernel.release, kernel.sha256));
    let memo = Memo::new(cache, MEMO, vec![&kernel.path]);
    let known = memo.recall::<Answer>().filter(|answer| answer.kernel_sha256 == kernel.sha256);
    match known.map(|answer| answer.vmlinux_sha256) {
        Some(Err(_)) => return None,
        Some(Ok(sha256)) => {
            let hold = place.hold();
            if hold.is_some() && memo::sha256(cache, &place.path).is_ok_and(|there| there == sha256) {
                return Some(BootFile { path: place.path, sha256, hold });
            }
        }
        None => {}
    }
    // If the kernel file cannot be read or has changed, QEMU or the guest reports the problem.
    let packed = read(&kernel.path).ok().filter(|bytes| hash(bytes) == kernel.sha256)?;
    let answer = |vmlinux_sha256| Answer { kernel_sha256: kernel.sha256.clone(), vmlinux_sha256 };
    let (answer, file) = match payload::vmlinux(&packed, &kernel.release) {
        Ok(vmlinux) => {
            let sha256 = hash(&vmlinux);
            let kept = keeping.note("the kernel out of its bzImage", SHELF.keep(cache, &place, &vmlinux))?;
            keeping.grown |= kept.new;
            (answer(Ok(sha256.clone())), Some(BootFile { path: place.path, sha256, hold: kept.hold }))
        }
        Err(why) => (answer(Err(why.to_string())), None),
    };
    keeping.note(memo::FACTS, memo.keep(&answer));
    file
}

/// The unpacked kernels in the cache, for whoever lists it or makes room.
#[must_use]
pub fn inventory(cache: &Path) -> Found {
    SHELF.inventory(cache, |name| {
        let (release, sha256) = name.rsplit_once('-').unwrap_or(("", name));
        format!("{release} from the bzImage {}", shelf::short(sha256))
    })
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
