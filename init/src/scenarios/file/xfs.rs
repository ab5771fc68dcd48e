//! Creates a small XFS, because the guest has no mkfs (fs/xfs/libxfs/xfs_format.h).
//!
//! The file system has one allocation group of 64 MiB in the format with checksums. Its blocks, in order: the four headers,
//! the roots of four trees (free space by place and by size, inodes, reference counts), free space, 64 inodes, free space, and
//! the log. A log of zeros counts as clean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::bytes::Bytes;

const BLOCK_BYTES: u16 = 4096;
const BLOCKS: u16 = 16_384;
const INODE_BYTES: u16 = 512;
const INODES_PER_BLOCK: u16 = 8;

// The blocks of the trees' roots.
const BY_PLACE: u16 = 1;
const BY_SIZE: u16 = 2;
const INODE_TREE: u16 = 3;
const REFERENCES: u16 = 4;

/// The first block, and the number of blocks.
type Extent = (u16, u16);

const FIRST_FREE: Extent = (5, 3);
const INODES: Extent = (8, 8);
const SECOND_FREE: Extent = (16, LOG.0 - 16);
const LOG: Extent = (12_288, 4096);
const FREE_BLOCKS: u16 = FIRST_FREE.1 + SECOND_FREE.1;

const ROOT_INODE: u16 = INODES.0 * INODES_PER_BLOCK;
/// The root directory, and two empty files of the realtime section, which the kernel demands.
const USED_INODES: u16 = 3;
const INODE_COUNT: u16 = 64;

const UUID: &[u8; 16] = b"vmlab reflink fs";
/// "None", for block and inode numbers.
const NULL: u32 = u32::MAX;

/// Writes an empty file system of 64 MiB to the image, which must be empty.
///
/// # Errors
/// As ftruncate(2) and pwrite(2).
pub(super) fn format(image: &File) -> io::Result<()> {
    image.set_len(u64::from(BLOCKS) * u64::from(BLOCK_BYTES))?;
    // The headers are in the first four sectors of 512 bytes.
    for (sector, header) in (0_u64..).zip([superblock(), free_space(), inode_header(), free_list()]) {
        image.write_all_at(&header.0, 512 * sector)?;
    }
    let free = [FIRST_FREE, SECOND_FREE];
    write_tree(image, BY_PLACE, b"AB3B", 2, |root| extents(root, free))?;
    write_tree(image, BY_SIZE, b"AB3C", 2, |root| extents(root, free))?;
    // The first inode, the number of free ones, and their bits.
    let free_bits = u64::MAX << USED_INODES;
    write_tree(image, INODE_TREE, b"IAB3", 1, |root| {
        root.be32(56, ROOT_INODE).be32(60, INODE_COUNT - USED_INODES).be64(64, free_bits)
    })?;
    write_tree(image, REFERENCES, b"R3FC", 0, |root| root)?;
    for index in 0..INODE_COUNT {
        let offset = u64::from(INODES.0) * u64::from(BLOCK_BYTES) + u64::from(index) * u64::from(INODE_BYTES);
        image.write_all_at(&inode(index).0, offset)?;
    }
    Ok(())
}

/// `struct xfs_dsb`.
fn superblock() -> Bytes {
    // Version 5, and the features that it implies.
    const VERSION: u16 = 0xb4a5;
    const FEATURES2: u16 = 0x18a;
    const REFLINK: u16 = 4;
    const FILE_TYPE: u16 = 1;
    Bytes::new(512)
        .bytes(0, b"XFSB")
        .be32(4, BLOCK_BYTES)
        .be64(8, BLOCKS)
        .bytes(32, UUID)
        .be64(48, LOG.0)
        .be64(56, ROOT_INODE)
        .be64(64, ROOT_INODE + 1)
        .be64(72, ROOT_INODE + 2)
        // Blocks in a realtime extent, in the allocation group, and the number of groups.
        .be32(80, 1_u16)
        .be32(84, BLOCKS)
        .be32(88, 1_u16)
        .be32(96, LOG.1)
        .be16(100, VERSION)
        .be16(102, 512)
        .be16(104, INODE_BYTES)
        .be16(106, INODES_PER_BLOCK)
        // Binary logarithms: block, sector, inode, inodes in a block, blocks in the group; then the limit of inodes in percent.
        .bytes(120, &[12, 9, 9, 3, 14, 0, 0, 25])
        .be64(128, INODE_COUNT)
        .be64(136, INODE_COUNT - USED_INODES)
        .be64(144, FREE_BLOCKS)
        // The alignment of inodes in blocks, and the stripe unit of the log.
        .be32(180, 4_u16)
        .be32(196, 1_u16)
        .be32(200, FEATURES2)
        .be32(204, FEATURES2)
        .be32(212, REFLINK)
        .be32(216, FILE_TYPE)
        .crc32c(224)
}

/// `struct xfs_agf`: roots and levels of the trees of free space, and of reference counts.
fn free_space() -> Bytes {
    Bytes::new(512)
        .bytes(0, b"XAGF")
        .be32(4, 1_u16)
        .be32(12, BLOCKS)
        .be32(16, BY_PLACE)
        .be32(20, BY_SIZE)
        .be32(28, 1_u16)
        .be32(32, 1_u16)
        // The list of free blocks is empty: its last index is before its first, 0.
        .be32(44, 118_u16)
        .be32(52, FREE_BLOCKS)
        .be32(56, SECOND_FREE.1)
        .bytes(64, UUID)
        .be32(84, 1_u16)
        .be32(88, REFERENCES)
        .be32(92, 1_u16)
        .crc32c(216)
}

/// `struct xfs_agi`.
fn inode_header() -> Bytes {
    Bytes::new(512)
        .bytes(0, b"XAGI")
        .be32(4, 1_u16)
        .be32(12, BLOCKS)
        .be32(16, INODE_COUNT)
        .be32(20, INODE_TREE)
        .be32(24, 1_u16)
        .be32(28, INODE_COUNT - USED_INODES)
        .be32(32, ROOT_INODE)
        .be32(36, NULL)
        // No unlinked inodes.
        .bytes(40, &[0xff; 256])
        .bytes(296, UUID)
        .crc32c(312)
}

/// `struct xfs_agfl`.
fn free_list() -> Bytes {
    Bytes::new(512).bytes(0, b"XAFL").bytes(8, UUID).bytes(36, &[0xff; 476]).crc32c(32)
}

/// Writes the root of a tree without further levels: `struct xfs_btree_block` in the short form, and records.
fn write_tree(
    image: &File,
    block: u16,
    magic: &[u8; 4],
    records: u16,
    fill: impl FnOnce(Bytes) -> Bytes,
) -> io::Result<()> {
    let root = Bytes::new(BLOCK_BYTES)
        .bytes(0, magic)
        .be16(6, records)
        .be32(8, NULL)
        .be32(12, NULL)
        // The block's place, in units of 512 bytes.
        .be64(16, block * (BLOCK_BYTES / 512))
        .bytes(32, UUID);
    image.write_all_at(&fill(root).crc32c(52).0, u64::from(block) * u64::from(BLOCK_BYTES))
}

fn extents(root: Bytes, [first, second]: [Extent; 2]) -> Bytes {
    root.be32(56, first.0).be32(60, first.1).be32(64, second.0).be32(68, second.1)
}

/// `struct xfs_dinode` of version 3.
fn inode(index: u16) -> Bytes {
    const S_IFDIR: u16 = 0o04_0000;
    const S_IFREG: u16 = 0o10_0000;
    // The formats of the data: in the inode, or in extents.
    const LOCAL: u8 = 1;
    const EXTENTS: u8 = 2;
    let free = Bytes::new(INODE_BYTES)
        .bytes(0, b"IN")
        .bytes(4, &[3])
        .be32(96, NULL)
        .be64(152, ROOT_INODE + index)
        .bytes(160, UUID);
    let used = |mode, format, links: u16| {
        Bytes(free.0.clone()).be16(2, mode).bytes(5, &[format]).be32(16, links).bytes(83, &[EXTENTS])
    };
    match index {
        // A directory without entries, whose data is the number of its parent.
        0 => used(S_IFDIR | 0o777, LOCAL, 2).be64(56, 6_u16).be32(178, ROOT_INODE),
        1 | 2 => used(S_IFREG, EXTENTS, 1),
        _ => Bytes(free.0.clone()),
    }
    .crc32c(100)
}
