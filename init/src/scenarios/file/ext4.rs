//! Creates small ext4 file systems, because the guest has no mkfs (Documentation/filesystems/ext4, chapter "Data Structures and
//! Algorithms"; fs/ext4/ext4.h).
//!
//! The file system has one block group, no journal and no checksums. Its blocks, in order: the superblock, the group
//! descriptor, the two bitmaps, the inode table, the root directory, and the quota file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::bytes::Bytes;

const BLOCK_BYTES: u16 = 4096;
/// 8 MiB.
const BLOCKS: u16 = 2048;
const INODES: u16 = 128;
const INODE_BYTES: u16 = 256;

const DESCRIPTOR: u16 = 1;
const BLOCK_BITMAP: u16 = 2;
const INODE_BITMAP: u16 = 3;
const INODE_TABLE: u16 = 4;
/// 128 inodes of 256 bytes take 8 blocks.
const ROOT_DIR: u16 = INODE_TABLE + 8;
const QUOTA_FILE: u16 = ROOT_DIR + 1;

const ROOT_INODE: u16 = 2;
/// The first inode that is not reserved: the kernel accepts only such an inode for the quotas of projects.
const QUOTA_INODE: u16 = 11;

const S_IFDIR: u16 = 0o04_0000;
const S_IFREG: u16 = 0o10_0000;

/// A feature that the file system has in addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// fs-verity.
    Verity,
    /// Project ids and their quotas.
    Project,
}

impl Feature {
    /// The numbers of used blocks and inodes. The first 10 inodes are reserved.
    const fn used(self) -> (u16, u16) {
        match self {
            Self::Verity => (QUOTA_FILE, 10),
            Self::Project => (QUOTA_FILE + 1, QUOTA_INODE),
        }
    }

    /// The bits in `s_feature_ro_compat`.
    const fn bits(self) -> u32 {
        match self {
            Self::Verity => 0x8000,
            // EXT4_FEATURE_RO_COMPAT_QUOTA and EXT4_FEATURE_RO_COMPAT_PROJECT.
            Self::Project => 0x100 | 0x2000,
        }
    }
}

/// Writes an empty file system of 8 MiB to the image, which must be empty.
///
/// # Errors
/// As ftruncate(2) and pwrite(2).
pub(crate) fn format(image: &File, feature: Feature) -> io::Result<()> {
    let (blocks, inodes) = feature.used();
    image.set_len(start(BLOCKS))?;
    // The superblock begins at byte 1024 of block 0.
    image.write_all_at(&superblock(feature).0, 1024)?;
    write(image, DESCRIPTOR, &descriptor(feature))?;
    write(image, BLOCK_BITMAP, &bitmap(blocks, BLOCKS))?;
    write(image, INODE_BITMAP, &bitmap(inodes, INODES))?;
    write_inode(image, ROOT_INODE, &inode(S_IFDIR | 0o777, 2, BLOCK_BYTES, ROOT_DIR))?;
    write(image, ROOT_DIR, &root_dir())?;
    if feature == Feature::Project {
        write_inode(image, QUOTA_INODE, &inode(S_IFREG | 0o600, 1, 2048, QUOTA_FILE))?;
        write(image, QUOTA_FILE, &quota_file())?;
    }
    Ok(())
}

/// The offset of a block, in bytes.
fn start(block: u16) -> u64 {
    u64::from(block) * u64::from(BLOCK_BYTES)
}

fn write(image: &File, block: u16, bytes: &Bytes) -> io::Result<()> {
    image.write_all_at(&bytes.0, start(block))
}

fn write_inode(image: &File, number: u16, bytes: &Bytes) -> io::Result<()> {
    image.write_all_at(&bytes.0, start(INODE_TABLE) + u64::from(number - 1) * u64::from(INODE_BYTES))
}

/// `struct ext4_super_block`.
fn superblock(feature: Feature) -> Bytes {
    let (blocks, inodes) = feature.used();
    let quota_inode = if feature == Feature::Project { QUOTA_INODE } else { 0 };
    Bytes::new(1024)
        .le32(0x00, INODES)
        .le32(0x04, BLOCKS)
        .le32(0x0c, BLOCKS - blocks)
        .le32(0x10, INODES - inodes)
        // Blocks and clusters of 1024 << 2 bytes; a group has as many as a bitmap has bits.
        .le32(0x18, 2_u16)
        .le32(0x1c, 2_u16)
        .le32(0x20, 8 * BLOCK_BYTES)
        .le32(0x24, 8 * BLOCK_BYTES)
        .le32(0x28, INODES)
        // No check is due: no maximal number of mounts, cleanly unmounted, go on after errors.
        .le16(0x36, u16::MAX)
        .le16(0x38, 0xef53)
        .le16(0x3a, 1)
        .le16(0x3c, 1)
        // The format with inodes of variable size.
        .le32(0x4c, 1_u16)
        .le32(0x54, 11_u16)
        .le16(0x58, INODE_BYTES)
        // Compatible features: extended attributes.
        .le32(0x5c, 0x8_u16)
        // Incompatible features: file types in directories, extents.
        .le32(0x60, 0x2_u16 | 0x40)
        // Features for writing: sparse superblocks, large files, large inodes.
        .le32(0x64, 0x1 | 0x2 | 0x40 | feature.bits())
        .bytes(0x68, b"vmlab file system")
        .le16(0x15c, 32)
        .le16(0x15e, 32)
        .le32(0x26c, quota_inode)
}

/// `struct ext4_group_desc`, of 32 bytes.
fn descriptor(feature: Feature) -> Bytes {
    let (blocks, inodes) = feature.used();
    Bytes::new(32)
        .le32(0x0, BLOCK_BITMAP)
        .le32(0x4, INODE_BITMAP)
        .le32(0x8, INODE_TABLE)
        .le16(0xc, BLOCKS - blocks)
        .le16(0xe, INODES - inodes)
        // The root directory.
        .le16(0x10, 1)
}

/// A block with the first `used` bits set, and those from `len` on, which stand for nothing.
fn bitmap(used: u16, len: u16) -> Bytes {
    let is_set = |bit: u16| bit < used || bit >= len;
    let byte = |index: u16| (0..8).filter(|bit| is_set(8 * index + bit)).fold(0, |byte, bit| byte | 1 << bit);
    Bytes((0..BLOCK_BYTES).map(byte).collect())
}

/// `struct ext4_inode` of a file with one block.
fn inode(mode: u16, links: u16, size: u16, block: u16) -> Bytes {
    const EXTENTS: u32 = 0x8_0000;
    Bytes::new(INODE_BYTES)
        .le16(0x0, mode)
        .le32(0x4, size)
        .le16(0x1a, links)
        // In units of 512 bytes.
        .le32(0x1c, BLOCK_BYTES / 512)
        .le32(0x20, EXTENTS)
        // The extent tree: a header (magic, 1 of 4 entries, depth 0), and an extent of one block from block 0 of the file on.
        .le16(0x28, 0xf30a)
        .le16(0x2a, 1)
        .le16(0x2c, 4)
        .le16(0x38, 1)
        .le32(0x3c, block)
        // The size of the part behind the first 128 bytes.
        .le16(0x80, 32)
}

/// Two `struct ext4_dir_entry_2`: inode, length, length of the name, type 2 (directory), name.
fn root_dir() -> Bytes {
    Bytes::new(BLOCK_BYTES)
        .le32(0, ROOT_INODE)
        .le16(4, 12)
        .bytes(6, &[1, 2, b'.'])
        .le32(12, ROOT_INODE)
        .le16(16, BLOCK_BYTES - 12)
        .bytes(18, &[2, 2, b'.', b'.'])
}

/// A quota file without quotas (fs/quota/quotaio_v2.h): magic of projects, version 1, periods of grace, size, and the empty
/// root of the tree, in units of 1024 bytes.
fn quota_file() -> Bytes {
    const WEEK_S: u32 = 7 * 24 * 3600;
    Bytes::new(2048).le32(0, 0xd9c0_3f14_u32).le32(4, 1_u16).le32(8, WEEK_S).le32(12, WEEK_S).le32(20, 2_u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_marks_what_is_used_and_what_does_not_exist() {
        let bits = bitmap(11, 128).0;
        assert_eq!(bits.len(), usize::from(BLOCK_BYTES));
        assert_eq!(bits.get(..3), Some([0xff, 0x07, 0x00].as_slice()));
        assert!(bits.iter().skip(16).all(|byte| *byte == 0xff));
    }

    #[test]
    fn an_image_is_as_large_as_its_superblock_says() {
        let dir = std::env::temp_dir().join(format!("vmlab-ext4-{}", std::process::id()));
        let image = File::create_new(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        format(&image, Feature::Project).unwrap();
        assert_eq!(image.metadata().unwrap().len(), 8 << 20);
    }
}
