//! The host's files, reached beneath a directory without following symbolic links.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirEntryExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::sys::statfs::{FsType, fstatfs};

use crate::beneath::open_beneath;
use crate::nodes::Identity;

/// The largest number of entries of one directory that is listed.
const ENTRIES: usize = 1 << 21;

/// File systems whose files are interfaces to the host's kernel, by their magic numbers (linux/magic.h). Guests see none of
/// them, wherever they are mounted.
const KERNEL_INTERFACES: &[u64] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x1cd1,      // devpts
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0xde5e_81e4, // efivarfs
    0x6573_5543, // fusectl
    0x6265_6570, // configfs
    0x6165_676c, // pstore
    0x4249_4e4d, // binfmt_misc
    0x1980_0202, // mqueue
    0x6e73_6673, // nsfs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x0187,      // autofs: a lookup would mount
];

/// A file, without access to its content.
#[derive(Debug)]
pub(crate) struct Reached {
    handle: OwnedFd,
    pub stat: FileStat,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostEntry {
    pub name: OsString,
    pub inode: u64,
    /// The type, as in `d_type` of readdir(3).
    pub kind: u32,
}

/// Reaches what is at a relative path. The path leads nowhere but beneath the directory, whatever other processes do.
pub(crate) fn reach(directory: impl AsFd, path: &Path) -> Result<Reached, Errno> {
    let handle = open_beneath(directory, path, OFlag::O_PATH)?;
    let stat = fstat(&handle)?;
    Ok(Reached { handle, stat })
}

impl Reached {
    pub(crate) fn kind(&self) -> SFlag {
        SFlag::from_bits_truncate(self.stat.st_mode) & SFlag::S_IFMT
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { device: self.stat.st_dev, inode: self.stat.st_ino, kind: self.kind().bits() }
    }

    fn is(&self, kind: SFlag) -> bool {
        self.kind() == kind
    }

    /// Reaches an entry of this directory.
    pub(crate) fn reach(&self, name: &Path) -> Result<Reached, Errno> {
        reach(&self.handle, name)
    }

    /// Whether the file is an interface to the host's kernel.
    pub(crate) fn is_kernel_interface(&self) -> Result<bool, Errno> {
        let FsType(magic) = fstatfs(&self.handle)?.filesystem_type();
        Ok(u64::try_from(magic).is_ok_and(|magic| KERNEL_INTERFACES.contains(&magic)))
    }

    /// Opens a regular file for reading. Anything else is refused before it is opened: opening a device or a FIFO has effects.
    pub(crate) fn open(&self) -> io::Result<File> {
        match self.kind() {
            SFlag::S_IFREG => {}
            SFlag::S_IFDIR => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EACCES.into()),
        }
        File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(self.proc_path())
    }

    pub(crate) fn read_link(&self) -> Result<OsString, Errno> {
        if !self.is(SFlag::S_IFLNK) {
            return Err(Errno::EINVAL);
        }
        readlinkat(&self.handle, "")
    }

    /// The entries of a directory, but `.` and `..`, in no order.
    pub(crate) fn entries(&self) -> io::Result<Vec<HostEntry>> {
        if !self.is(SFlag::S_IFDIR) {
            return Err(Errno::ENOTDIR.into());
        }
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(self.proc_path())? {
            if entries.len() == ENTRIES {
                return Err(Errno::EOVERFLOW.into());
            }
            let entry = entry?;
            let kind = entry.file_type().map_or(libc::DT_UNKNOWN, kind_of);
            entries.push(HostEntry { name: entry.file_name(), inode: entry.ino(), kind: kind.into() });
        }
        Ok(entries)
    }

    /// A path that leads to this very file, whatever has been renamed since.
    fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.handle.as_raw_fd())
    }
}

fn kind_of(kind: std::fs::FileType) -> u8 {
    match kind {
        kind if kind.is_file() => libc::DT_REG,
        kind if kind.is_dir() => libc::DT_DIR,
        kind if kind.is_symlink() => libc::DT_LNK,
        kind if kind.is_fifo() => libc::DT_FIFO,
        kind if kind.is_socket() => libc::DT_SOCK,
        kind if kind.is_char_device() => libc::DT_CHR,
        kind if kind.is_block_device() => libc::DT_BLK,
        _ => libc::DT_UNKNOWN,
    }
}
