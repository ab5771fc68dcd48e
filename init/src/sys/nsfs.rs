//! Namespaces as files: the ioctls of nsfs (ioctl_ns(2)), and listns(2).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::Result;
use nix::errno::Errno;
use nix::libc;

use super::descriptor::owned;

// The numbers are from <linux/nsfs.h>.
nix::ioctl_none_bad!(ns_get_userns, nix::request_code_none!(0xb7, 1));
nix::ioctl_none_bad!(ns_get_parent, nix::request_code_none!(0xb7, 2));
nix::ioctl_none_bad!(ns_get_nstype, nix::request_code_none!(0xb7, 3));
nix::ioctl_read_bad!(ns_get_owner_uid, nix::request_code_none!(0xb7, 4), libc::uid_t);
nix::ioctl_read!(ns_get_mntns_id, 0xb7, 5, u64);
nix::ioctl_read!(ns_get_id, 0xb7, 13, u64);

/// The user namespace that owns a namespace. Linux 4.9.
///
/// # Errors
/// As `ioctl_ns(2)`: `EPERM` if the owner is outside the caller's user namespace.
pub(crate) fn owner(namespace: &File) -> Result<File> {
    // SAFETY: the ioctl takes no argument.
    opened(unsafe { ns_get_userns(namespace.as_raw_fd()) })
}

/// The parent of a PID or user namespace. Linux 4.9.
///
/// # Errors
/// As `ioctl_ns(2)`: `EINVAL` for a namespace of another type, `EPERM` if the parent is outside the caller's.
pub(crate) fn parent(namespace: &File) -> Result<File> {
    // SAFETY: the ioctl takes no argument.
    opened(unsafe { ns_get_parent(namespace.as_raw_fd()) })
}

fn opened(fd: Result<i32>) -> Result<File> {
    owned(fd?.into()).map(File::from)
}

/// The `CLONE_NEW` flag of a namespace's type. Linux 4.11.
///
/// # Errors
/// As `ioctl_ns(2)`: `ENOTTY`.
pub(crate) fn kind(namespace: &File) -> Result<i32> {
    // SAFETY: the ioctl takes no argument.
    unsafe { ns_get_nstype(namespace.as_raw_fd()) }
}

/// The user that created a user namespace, as the caller's user namespace maps it. Linux 4.11.
///
/// # Errors
/// As `ioctl_ns(2)`: `EINVAL` for a namespace of another type.
pub(crate) fn creator(namespace: &File) -> Result<u32> {
    let mut user = 0;
    // SAFETY: the kernel writes a uid_t to a live one.
    unsafe { ns_get_owner_uid(namespace.as_raw_fd(), &raw mut user) }.map(|_| user)
}

/// The id of a mount namespace, which no other mount namespace of this boot has. Linux 6.11.
///
/// # Errors
/// `ENOTTY` on older kernels, `EINVAL` for a namespace of another type.
pub(crate) fn mount_namespace_id(namespace: impl AsFd) -> Result<u64> {
    let mut id = 0;
    // SAFETY: the kernel writes a u64 to a live one.
    unsafe { ns_get_mntns_id(namespace.as_fd().as_raw_fd(), &raw mut id) }.map(|_| id)
}

/// The id of a namespace, which no other namespace of this boot has. Linux 6.18.
///
/// # Errors
/// `ENOTTY` on older kernels.
pub(crate) fn id(namespace: &File) -> Result<u64> {
    let mut id = 0;
    // SAFETY: the kernel writes a u64 to a live one.
    unsafe { ns_get_id(namespace.as_raw_fd(), &raw mut id) }.map(|_| id)
}

/// `struct ns_id_req` of <linux/nsfs.h>.
#[repr(C)]
struct Request {
    size: u32,
    reserved: u32,
    ns_id: u64,
    ns_type: u32,
    spare2: u32,
    user_ns_id: u64,
}

const REQUEST_SIZE: u32 = 32;
const _: () = assert!(size_of::<Request>() == 32, "REQUEST_SIZE must be that of the struct");

/// The system call's number, from <asm/unistd_64.h> of 6.19.
const SYS_LISTNS: libc::c_long = 470;

/// The ids of the namespaces of this type (a `CLONE_NEW` flag) that follow the id `after`: up to 64 of them. `user_namespace` is the
/// id of the owner whose namespaces are listed, or 0. Linux 6.19.
///
/// # Errors
/// `ENOSYS` on older kernels, `ENOENT` if there is no namespace with the id `after`.
pub(crate) fn list(kind: i32, user_namespace: u64, after: u64) -> Result<Vec<u64>> {
    const MOST: usize = 64;
    let request = Request {
        size: REQUEST_SIZE,
        reserved: 0,
        ns_id: after,
        ns_type: kind.cast_unsigned(),
        spare2: 0,
        user_ns_id: user_namespace,
    };
    let mut ids = vec![0; MOST];
    // SAFETY: the kernel reads a live request of its size, and writes at most MOST ids to a buffer of MOST ids.
    let count = Errno::result(unsafe { libc::syscall(SYS_LISTNS, &raw const request, ids.as_mut_ptr(), MOST, 0) })?;
    ids.truncate(usize::try_from(count).unwrap_or(0));
    Ok(ids)
}
