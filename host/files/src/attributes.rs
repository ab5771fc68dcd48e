//! Attributes of files as a guest sees them.

use std::time::Duration;

use fuse_backend_rs::api::filesystem::Entry;
use nix::sys::stat::FileStat;

use crate::inodes::Inodes;

/// The mode of a directory that only the guest has: everybody may enter and list it.
const MADE_MODE: u32 = libc::S_IFDIR | 0o555;

/// The attributes of a file of the host's. The caller is the guest's root; all else is as on the host: other owners,
/// permissions with set-user-ID bits, device numbers.
pub(crate) fn of_host(stat: &FileStat, caller: (u32, u32), inodes: &mut Inodes) -> libc::stat64 {
    let mut shown = blank();
    shown.st_ino = inodes.shown(stat.st_dev, stat.st_ino);
    shown.st_mode = stat.st_mode;
    shown.st_nlink = stat.st_nlink;
    shown.st_uid = if stat.st_uid == caller.0 { 0 } else { stat.st_uid };
    shown.st_gid = if stat.st_gid == caller.1 { 0 } else { stat.st_gid };
    shown.st_rdev = stat.st_rdev;
    shown.st_size = stat.st_size;
    shown.st_blksize = stat.st_blksize;
    shown.st_blocks = stat.st_blocks;
    (shown.st_atime, shown.st_atime_nsec) = (stat.st_atime, stat.st_atime_nsec);
    (shown.st_mtime, shown.st_mtime_nsec) = (stat.st_mtime, stat.st_mtime_nsec);
    (shown.st_ctime, shown.st_ctime_nsec) = (stat.st_ctime, stat.st_ctime_nsec);
    shown
}

/// The attributes of a directory that only the guest has.
pub(crate) fn of_made(number: u64) -> libc::stat64 {
    let mut shown = blank();
    shown.st_ino = Inodes::made(number);
    shown.st_mode = MADE_MODE;
    shown.st_nlink = 2;
    shown.st_blksize = 4096;
    shown
}

/// The answer to a lookup. Node 0 means that there is no such file.
pub(crate) fn entry(node: u64, attributes: libc::stat64, timeout: Duration) -> Entry {
    let (attr_timeout, entry_timeout) = (timeout, timeout);
    Entry { inode: node, attr: attributes, attr_timeout, entry_timeout, ..Entry::default() }
}

/// All zero. The structure has private fields.
pub(crate) fn blank() -> libc::stat64 {
    Entry::default().attr
}
