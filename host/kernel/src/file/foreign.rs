//! Identifies files that are neither a bzImage nor an ELF file by their first bytes.

use super::Unbootable;

/// The offset of the magic in arm64 and RISC-V images (the kernel's Documentation/arch/arm64/booting.rst and
/// Documentation/arch/riscv/boot-image-header.rst).
const IMAGE_MAGIC: usize = 0x38;

/// Compression formats: name, first bytes, and the command that decompresses.
const COMPRESSED: [(&str, &[u8], &str); 7] = [
    ("gzip", &[0x1f, 0x8b], "gunzip"),
    ("xz", &[0xfd, b'7', b'z', b'X', b'Z', 0], "unxz"),
    ("zstd", &[0x28, 0xb5, 0x2f, 0xfd], "unzstd"),
    ("bzip2", b"BZh", "bunzip2"),
    ("lzma", &[0x5d, 0, 0], "unlzma"),
    ("lz4", &[0x02, 0x21, 0x4c, 0x18], "unlz4"),
    ("lz4", &[0x04, 0x22, 0x4d, 0x18], "unlz4"),
];

/// The error for a file with these first bytes.
pub(super) fn name(head: &[u8]) -> Unbootable {
    if let Some(architecture) = architecture(head) {
        return Unbootable::Architecture(architecture.to_owned());
    }
    COMPRESSED
        .iter()
        .find(|(_, magic, _)| head.starts_with(magic))
        .map_or(Unbootable::NotAKernel, |&(form, _, tool)| Unbootable::Compressed { form, tool })
}

fn architecture(head: &[u8]) -> Option<&'static str> {
    match head.get(IMAGE_MAGIC..IMAGE_MAGIC + 4) {
        Some(b"ARM\x64") => return Some("arm64"),
        Some(b"RSC\x05") => return Some("RISC-V"),
        _ => {}
    }
    // The magic number of a zImage (the kernel's Documentation/arch/arm/booting.rst).
    if head.get(0x24..0x28) == Some(&0x016f_2818_u32.to_le_bytes()) {
        return Some("32-bit ARM");
    }
    // A self-extracting EFI image (CONFIG_EFI_ZBOOT), which does not exist on x86.
    (head.starts_with(b"MZ") && head.get(4..8) == Some(b"zimg")).then_some("another architecture (an EFI zboot image)")
}
