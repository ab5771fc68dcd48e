//! Decompresses LZ4's legacy frames, which `lz4 -l` writes and the kernel's build uses (`cmd_lz4` in
//! scripts/Makefile.lib). A frame is a magic number and blocks. Each block begins with its compressed length, and has 8
//! MiB when decompressed, except the last (doc/lz4_Frame_format.md of LZ4, "Legacy frame").

use lz4_flex::block;

/// The first bytes of a legacy frame.
pub(super) const MAGIC: &[u8] = b"\x02\x21\x4c\x18";

/// The maximum decompressed size of a block, in bytes.
const BLOCK_BYTES: usize = 8 << 20;

/// Decompresses a frame to `length` bytes. `None` if the frame is truncated, damaged, or has another length.
pub(super) fn unpack(frame: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut rest = frame.strip_prefix(MAGIC)?;
    let (mut out, mut filled) = (vec![0; length], 0);
    while let Some((size, blocks)) = rest.split_first_chunk() {
        let (block, next) = blocks.split_at_checked(usize::try_from(u32::from_le_bytes(*size)).ok()?)?;
        let end = length.min(filled + BLOCK_BYTES);
        filled += block::decompress_into(block, &mut out[filled..end]).ok()?;
        rest = next;
    }
    (rest.is_empty() && filled == length).then_some(out)
}
