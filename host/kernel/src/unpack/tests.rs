use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::payload::{NoVmlinux, vmlinux};
use super::*;
use crate::decompress::DecompressError;
use crate::file::tests::{self as files, RELEASE};
use crate::file::{Format, Unbootable};
use vmlab_store::cache;
use vmlab_store::cache::Kinds;

const PVH_NOTE: u32 = 18;

const TCG: Machine = Machine::bare(Accelerator::Tcg, 256, 1);
const KVM: Machine = Machine::bare(Accelerator::Kvm, 256, 1);

fn elf() -> Vec<u8> {
    files::vmlinux(9, PVH_NOTE)
}

/// Compresses like `lz4 -l`.
fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut frame = lz4::MAGIC.to_vec();
    for block in bytes.chunks(8 << 20) {
        let packed = lz4_flex::block::compress(block);
        frame.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
        frame.extend_from_slice(&packed);
    }
    frame
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Appends the length to compressed data, like the kernel's build.
fn with_length(mut packed: Vec<u8>, length: usize) -> Vec<u8> {
    packed.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    packed
}

/// A bzImage with this payload at offset 0x30 of its protected-mode code.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let paragraphs = u32::try_from(payload.len().div_ceil(16) + 4).unwrap();
    let mut bytes = files::bzimage(paragraphs);
    bytes[0x248..0x24c].copy_from_slice(&0x30_u32.to_le_bytes());
    bytes[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    let at = 3 * 512 + 0x30;
    bytes[at..at + payload.len()].copy_from_slice(payload);
    bytes
}

fn packed(elf: &[u8]) -> Vec<u8> {
    bzimage(&with_length(lz4(elf), elf.len()))
}

#[test]
fn each_compression_format_is_unpacked() {
    // Larger than an LZ4 block.
    let large = files::vmlinux(9 << 20, PVH_NOTE);
    for elf in [elf(), large] {
        let forms = [
            gzip(&elf),
            with_length(xz(&elf), elf.len()),
            with_length(zstd(&elf), elf.len()),
            with_length(lz4(&elf), elf.len()),
        ];
        for payload in forms {
            assert!(vmlinux(&bzimage(&payload), RELEASE).unwrap() == elf, "{:02x?}", &payload[..4]);
        }
    }
}

#[test]
fn payloads_that_cannot_be_booted_are_distinguished() {
    let elf = elf();
    let look = |payload: &[u8]| vmlinux(&bzimage(payload), RELEASE).unwrap_err();
    assert!(matches!(vmlinux(&elf, RELEASE), Err(NoVmlinux::NotABzImage)));
    assert!(matches!(vmlinux(&files::bzimage(100), RELEASE), Err(NoVmlinux::NoPayload)));
    assert!(matches!(look(b"\x1f"), NoVmlinux::NoPayload));
    assert!(matches!(look(b"BZh91AY&SY..."), NoVmlinux::Unknown(seen) if seen.starts_with(b"BZh9")));
    let no_pvh = files::vmlinux(9, 17);
    assert!(matches!(look(&with_length(lz4(&no_pvh), no_pvh.len())), NoVmlinux::Unbootable(Unbootable::NoPvh)));
    let another = vmlinux(&packed(&elf), "6.1.0").unwrap_err();
    assert!(matches!(another, NoVmlinux::Another { release, .. } if release == RELEASE));
    let nested = packed(&elf);
    let nested = look(&with_length(xz(&nested), nested.len()));
    assert!(matches!(nested, NoVmlinux::Another { format: Format::BzImage, .. }));
}

#[test]
fn a_damaged_payload_is_detected() {
    let elf = elf();
    for (packed, name) in [(xz(&elf), "xz"), (zstd(&elf), "zstd"), (lz4(&elf), "lz4")] {
        let cut = with_length(packed[..packed.len() / 2].to_vec(), elf.len());
        let error = vmlinux(&bzimage(&cut), RELEASE).unwrap_err();
        assert!(
            matches!(error, NoVmlinux::Decompress(DecompressError::Damaged { .. }) | NoVmlinux::Lz4),
            "{name}: {error}"
        );
        for length in [elf.len() - 1, elf.len() + 1] {
            let lying = vmlinux(&bzimage(&with_length(packed.clone(), length)), RELEASE).unwrap_err();
            assert!(
                matches!(
                    lying,
                    NoVmlinux::Decompress(DecompressError::TooLarge { .. }) | NoVmlinux::Length { .. } | NoVmlinux::Lz4
                ),
                "{name}: {lying}"
            );
        }
    }
    let huge = vmlinux(&bzimage(&with_length(lz4(&elf), u32::MAX as usize)), RELEASE).unwrap_err();
    assert!(matches!(huge, NoVmlinux::TooLarge(u32::MAX)), "no memory is allocated for it");
}

#[test]
fn a_payload_beyond_the_end_of_the_file_is_refused() {
    let mut bytes = packed(&elf());
    for (at, value) in [(0x248, u32::MAX), (0x24c, u32::MAX), (0x248, 0)] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(matches!(vmlinux(&bytes, RELEASE), Err(NoVmlinux::NoPayload)), "{at:#x}");
    }
    bytes.truncate(0x24a);
    assert!(matches!(vmlinux(&bytes, RELEASE), Err(NoVmlinux::NoPayload)));
}

fn kernel(dir: &Path, bytes: &[u8]) -> Kernel {
    let path = dir.join("vmlinuz");
    fs::write(&path, bytes).unwrap();
    let (root, stopped) = (dir.join("root"), AtomicBool::new(false));
    let search = crate::path::Search { label: "label", root: &root, cache: dir, stopped: &stopped };
    crate::path::obtain(&search, &path).unwrap()
}

#[test]
fn the_vmlinux_is_stored_and_leased_under_tcg_and_not_under_kvm() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path(), &packed(&elf()));
    let under_kvm = boot_file(&kernel, &KVM, dir.path()).0;
    assert_eq!((&under_kvm.path, &under_kvm.sha256), (&kernel.path, &kernel.sha256));
    assert!(list(dir.path()).entries.is_empty());

    let unpacked = boot_file(&kernel, &TCG, dir.path()).0;
    assert!(fs::read(&unpacked.path).unwrap() == elf());
    assert_eq!(unpacked.sha256, hash(&elf()));
    let listed = list(dir.path()).entries;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].kind, &listed[0].path), (&UNPACKED, &unpacked.path));
    assert_eq!(listed[0].what, format!("{RELEASE} from the bzImage {}", &kernel.sha256[..12]));
    let kinds: &Kinds = &[&UNPACKED];
    assert_eq!(cache::clear(dir.path(), kinds, kinds).in_use.len(), 1);
    drop(unpacked);
    let cleared = cache::clear(dir.path(), kinds, kinds);
    assert_eq!((cleared.removed.len(), fs::read_dir(dir.path().join("unpacked")).unwrap().count()), (1, 0));
}

#[test]
fn a_guest_too_small_for_the_vmlinux_boots_the_bzimage() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path(), &packed(&files::vmlinux(9 << 20, PVH_NOTE)));
    for (memory_mib, unpacked) in [(16, false), (18, false), (20, true)] {
        let file = boot_file(&kernel, &Machine { memory_mib, ..TCG }, dir.path()).0;
        assert_eq!(file.path != kernel.path, unpacked, "{memory_mib}");
    }
}

#[test]
fn a_damaged_file_in_the_cache_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path(), &packed(&elf()));
    let path = boot_file(&kernel, &TCG, dir.path()).0.path;
    let mut damaged = elf();
    damaged[100] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let again = boot_file(&kernel, &TCG, dir.path()).0;
    assert_eq!(again.path, path);
    assert!(fs::read(path).unwrap() == elf());
}

#[test]
fn a_kernel_that_cannot_be_unpacked_is_booted_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [files::bzimage(100), elf(), bzimage(b"BZh91AY&SY...")] {
        let kernel = kernel(dir.path(), &bytes);
        let file = boot_file(&kernel, &TCG, dir.path()).0;
        assert_eq!((&file.path, &file.sha256), (&kernel.path, &kernel.sha256));
    }
    // The file has changed since it was named; the hash identifies the intended kernel.
    let kernel = kernel(dir.path(), &packed(&elf()));
    fs::write(&kernel.path, packed(&files::vmlinux(20, PVH_NOTE))).unwrap();
    assert_eq!(boot_file(&kernel, &TCG, dir.path()).0.path, kernel.path);
    assert!(list(dir.path()).entries.is_empty());
}

#[test]
fn the_answer_of_unpacking_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    // The stat cache remembers no facts about a file that was just written.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let kernel = Kernel { path, ..kernel(dir.path(), &packed(&elf())) };
    let files = [kernel.path.as_path()];
    let fact = Fact::new(dir.path(), FACT_KIND, &files);
    let blob = BLOBS.put(dir.path(), &format!("{RELEASE}-{}", kernel.sha256), b"unpacked before").unwrap();
    let answer = |kernel_sha256: &str| Answer {
        kernel_sha256: kernel_sha256.to_owned(),
        vmlinux_sha256: Ok(hash(b"unpacked before")),
    };
    fact.put(&answer(&kernel.sha256)).unwrap();
    assert_eq!(boot_file(&kernel, &TCG, dir.path()).0.path, blob.path);
    fact.put(&answer("another")).unwrap();
    assert_eq!(boot_file(&kernel, &TCG, dir.path()).0.path, kernel.path);
}

#[test]
fn the_bzimage_is_booted_if_the_cache_cannot_store_the_vmlinux() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path(), &packed(&elf()));
    let cache = dir.path().join("file");
    fs::write(&cache, "").unwrap();
    let (file, warnings) = boot_file(&kernel, &TCG, &cache);
    assert_eq!((&file.path, &file.sha256), (&kernel.path, &kernel.sha256));
    let notices = warnings.notices();
    assert!(matches!(&notices[..], [only] if only.contains("the unpacked kernel for the next run: ")), "{notices:?}");
    let (_file, warnings) = boot_file(&kernel, &TCG, dir.path());
    assert!(warnings.grown && warnings.notices().is_empty());
    assert!(!boot_file(&kernel, &TCG, dir.path()).1.grown);
}

#[test]
fn other_types_of_files_at_an_unpacked_kernels_path_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = kernel(dir.path(), &packed(&elf()));
    let path = boot_file(&kernel, &TCG, dir.path()).0.path;
    for place in [&path, &path.with_extension("used")] {
        for (name, make) in vmlab_store::fixture::NOT_REGULAR {
            vmlab_store::fixture::put(place, make);
            let again = boot_file(&kernel, &TCG, dir.path()).0;
            assert!(again.path == path && fs::read(&path).unwrap() == elf(), "{name}");
        }
    }
}
