//! The inode numbers that a guest sees: one number per file, though it sees several file systems of the host's as one.

use std::collections::HashMap;

/// The part of a number that is the host's inode number, in bits. ext4 has 32, XFS and Btrfs use less than 48 in practice.
const INODE_BITS: u32 = 48;
/// The index of the directories that only the guest has.
const MADE: u64 = 0x7fff;
/// Marks numbers that do not fit and are hashed.
const HASHED: u64 = 1 << 63;

/// Numbers the host's file systems.
#[derive(Debug, Default)]
pub(crate) struct Inodes {
    devices: HashMap<u64, u64>,
}

impl Inodes {
    /// `root_device` keeps its own inode numbers, so that they stay small.
    pub(crate) fn new(root_device: u64) -> Self {
        Self { devices: HashMap::from([(root_device, 0)]) }
    }

    /// The number of a file of the host's.
    pub(crate) fn shown(&mut self, device: u64, inode: u64) -> u64 {
        let next = self.devices.len() as u64;
        let index = *self.devices.entry(device).or_insert(next);
        if index < MADE && inode < 1 << INODE_BITS {
            return index << INODE_BITS | inode;
        }
        HASHED | mix(inode ^ mix(index))
    }

    /// The number of a directory that only the guest has.
    pub(crate) fn made(number: u64) -> u64 {
        MADE << INODE_BITS | number
    }
}

/// The finalizer of splitmix64, a bijection.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn files_of_several_file_systems_have_different_numbers() {
        let mut inodes = Inodes::new(7);
        assert_eq!(inodes.shown(7, 12), 12);
        let mut seen = HashSet::new();
        for device in 0..100 {
            for inode in [1, 2, 3, 1 << 40, (1 << 48) - 1, 1 << 48, u64::MAX, u64::MAX - 1] {
                assert!(seen.insert(inodes.shown(device, inode)), "device {device}, inode {inode}");
            }
        }
        assert!(seen.insert(Inodes::made(1)));
        assert_eq!(inodes.shown(7, 12), 12);
    }

    #[test]
    fn more_file_systems_than_there_are_indexes_have_different_numbers() {
        let mut inodes = Inodes::new(0);
        let seen: HashSet<u64> = (0..0x9000).map(|device| inodes.shown(device, 2)).collect();
        assert_eq!(seen.len(), 0x9000);
    }
}
