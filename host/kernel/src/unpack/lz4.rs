//! LZ4's legacy frames, which `lz4 -l` writes and the kernel's build uses (`cmd_lz4` in scripts/Makefile.lib): a magic
//! number, then blocks, each with its compressed length in front, each of 8 MiB when unpacked but the last
//! (doc/lz4_Frame_format.md of LZ4, "Legacy frame").

use lz4_flex::block;

/// What such a frame begins with.
pub(super) const MAGIC: &[u8] = b"\x02\x21\x4c\x18";

/// What a block becomes at most, in bytes.
const BLOCK_BYTES: usize = 8 << 20;

/// Unpacks one frame of which `length` bytes are to come. `None` where it is cut or damaged, or more or less would come.
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
