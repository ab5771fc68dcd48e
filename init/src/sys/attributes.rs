//! Attributes of files: extended ones (xattr(7)), inode flags, project ids, and fs-verity.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};
use nix::{NixPath, Result};

const FS_IOC_GETFLAGS: c_ulong = 0x8008_6601;
const FS_IOC_SETFLAGS: c_ulong = 0x4008_6602;
const FS_IOC_FSGETXATTR: c_ulong = 0x801c_581f;
const FS_IOC_FSSETXATTR: c_ulong = 0x401c_5820;
const FS_IOC_ENABLE_VERITY: c_ulong = 0x4080_6685;
const FICLONE: c_ulong = 0x4004_9409;
const FS_IMMUTABLE_FL: c_int = 0x10;
/// New files of the directory get its project id.
const FS_XFLAG_PROJINHERIT: u32 = 0x200;

/// `struct fsxattr` of <linux/fs.h>.
#[repr(C)]
#[derive(Default)]
struct FileAttributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    pad: [u8; 8],
}

/// `struct fsverity_enable_arg` of <linux/fsverity.h>.
#[repr(C)]
struct EnableVerity {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved1: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// setxattr(2).
///
/// # Errors
/// `EPERM`; `EOPNOTSUPP` if the file system has no such attributes.
pub(crate) fn set_xattr(path: &Path, name: &CStr, value: &[u8]) -> Result<()> {
    path.with_nix_path(|path| {
        // SAFETY: path and name are NUL-terminated, and value has the length given; the kernel only reads them.
        Errno::result(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
    })?
    .map(drop)
}

/// getxattr(2) of an attribute of up to 64 bytes.
///
/// # Errors
/// `ENODATA`; `ERANGE` for a longer value.
pub(crate) fn xattr(path: &Path, name: &CStr) -> Result<Vec<u8>> {
    let mut value = [0_u8; 64];
    let length = path.with_nix_path(|path| {
        // SAFETY: path and name are NUL-terminated, and the kernel writes up to the given length to a live array.
        Errno::result(unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) })
    })??;
    Ok(value.iter().copied().take(usize::try_from(length).unwrap_or(0)).collect())
}

/// Sets or clears the flag of chattr(1) `+i`.
///
/// # Errors
/// `EPERM` without `CAP_LINUX_IMMUTABLE`; `ENOTTY` if the file system has no flags.
pub(crate) fn set_immutable(file: impl AsFd, immutable: bool) -> Result<()> {
    let fd = file.as_fd().as_raw_fd();
    let mut flags: c_int = 0;
    // SAFETY: the kernel writes an int to a live one.
    Errno::result(unsafe { libc::ioctl(fd, FS_IOC_GETFLAGS, &raw mut flags) })?;
    flags = if immutable { flags | FS_IMMUTABLE_FL } else { flags & !FS_IMMUTABLE_FL };
    // SAFETY: the kernel reads an int from a live one.
    Errno::result(unsafe { libc::ioctl(fd, FS_IOC_SETFLAGS, &raw const flags) }).map(drop)
}

/// Gives the file, and new files of the directory, this project id.
///
/// # Errors
/// `EINVAL` outside the initial user namespace; `EOPNOTSUPP` if the file system has no projects.
pub(crate) fn set_project(file: impl AsFd, project: u32) -> Result<()> {
    let fd = file.as_fd().as_raw_fd();
    let mut attributes = FileAttributes::default();
    // SAFETY: the kernel writes a struct of this layout to a live one.
    Errno::result(unsafe { libc::ioctl(fd, FS_IOC_FSGETXATTR, &raw mut attributes) })?;
    attributes.project = project;
    attributes.flags |= FS_XFLAG_PROJINHERIT;
    // SAFETY: the kernel reads a struct of this layout from a live one.
    Errno::result(unsafe { libc::ioctl(fd, FS_IOC_FSSETXATTR, &raw const attributes) }).map(drop)
}

/// Turns on fs-verity with SHA-256 and blocks of 4096 bytes: from then on the content of the file is constant.
///
/// # Errors
/// `EOPNOTSUPP` if the file system has no fs-verity; `ETXTBSY` if the file is open for writing.
pub(crate) fn enable_verity(file: impl AsFd) -> Result<()> {
    let argument = EnableVerity {
        version: 1,
        hash_algorithm: 1,
        block_size: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved1: 0,
        signature: 0,
        reserved2: [0; 11],
    };
    // SAFETY: the kernel reads a struct of this layout from a live one; salt and signature are absent.
    Errno::result(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_ENABLE_VERITY, &raw const argument) }).map(drop)
}

/// Makes the content of a file that of another one, by sharing its blocks (`ioctl_ficlone(2)`).
///
/// # Errors
/// `EOPNOTSUPP` if the file system cannot share blocks.
pub(crate) fn clone_file(target: impl AsFd, source: impl AsFd) -> Result<()> {
    let (target, source) = (target.as_fd().as_raw_fd(), source.as_fd().as_raw_fd());
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::ioctl(target, FICLONE, source) }).map(drop)
}
