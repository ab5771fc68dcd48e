//! Booting the vmlinux in a bzImage instead of the bzImage.
//!
//! A bzImage is a program that decompresses the kernel in it and enters that. Under an emulator this is a good part of a
//! boot: in CPU seconds of QEMU 7.2 from its start to the agent's hello, bzImage against vmlinux, medians of three, it
//! was 2.60 against 2.40 on stock 5.10, 3.10 against 2.36 on 6.1, 4.55 against 2.99 on 6.12 and 4.49 against 3.79 on 7.3.
//! So the kernel is decompressed once, here, and QEMU enters it through its PVH note. Under KVM the decompressor takes
//! some ms, and the bzImage is booted.
//!
//! What is lost with the decompressor: it is what picks a random physical and virtual base for the kernel
//! (`choose_random_location` in arch/x86/boot/compressed/kaslr.c), so without it the kernel's text lies where it was
//! linked. The regions for the direct map, vmalloc and vmemmap are the kernel's own to pick (arch/x86/mm/kaslr.c).

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
pub mod payload;

/// Where they are kept: `unpacked/RELEASE-SHA256.vmlinux`, the hash being the bzImage's.
const SHELF: Shelf = Shelf { directory: "unpacked", suffix: ".vmlinux", kind: Kind::Unpacked };

/// What was found out is remembered under this; its number is raised when another vmlab could find out otherwise.
const MEMO: &str = "vmlinux 1";

/// The file that QEMU is given as a kernel.
#[derive(Debug, Clone)]
pub struct BootFile {
    /// A bzImage, or a vmlinux with a PVH note.
    pub path: PathBuf,
    /// Of that file, hexadecimal.
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

/// What a kernel is booted from: the vmlinux in it where that is quicker and can be had, else its own file. Where a bzImage
/// holds nothing that can be unpacked it may still boot, and if it does not, the guest's console tells why. Blocks for some
/// seconds the first time. A cache that does not take the vmlinux costs no more than the time that it saves.
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

/// Whether there is room for a vmlinux, which loads to 16 MiB and higher, and for what it sets up. Where there is not, the
/// bzImage's decompressor ends the guest at once, and a kernel that was entered all the same hangs without a word (seen
/// with 5.10 in 16 MiB).
fn fits(file: &BootFile, machine: &Machine) -> bool {
    let memory_bytes = u64::from(machine.memory_mib) << 20;
    fs::metadata(&file.path).is_ok_and(|file| file.len() <= memory_bytes / 2)
}

/// The vmlinux in a kernel's file, from the cache or put there now; `None` where there is none to boot.
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
    // Who cannot read the kernel now, or reads another than the one that was named, is told by QEMU or by the guest.
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

/// A bzImage; of any other file no more than is needed to tell.
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
