//! statmount(2) and listmount(2) of Linux 6.8, the order of mount namespaces (`ioctl_nsfs(2)`), and mount events of
//! fanotify(7).

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_long, c_uint, c_ulong};

use super::descriptor::owned;
use super::system::notification_group;

const SYS_STATMOUNT: c_long = 457;
const SYS_LISTMOUNT: c_long = 458;
/// statmount(2): the mount of a descriptor. Linux 7.0.
pub(crate) const STATMOUNT_BY_FD: c_uint = 1;
const STATMOUNT_MNT_BASIC: u64 = 2;
/// listmount(2): all mounts below the root.
pub(crate) const LSMT_ROOT: u64 = u64::MAX;
const NS_MNT_GET_NEXT: c_ulong = 0x8010_b70b;
const FAN_REPORT_MNT: c_uint = 0x4000;
const FAN_MARK_ADD: c_uint = 1;
const FAN_MARK_MNTNS: c_uint = 0x110;
const FAN_MNT_ATTACH: u64 = 0x0100_0000;

/// `struct mnt_id_req` of <linux/mount.h>.
#[repr(C)]
struct Request {
    size: u32,
    /// The descriptor for [`STATMOUNT_BY_FD`].
    fd: u32,
    mount: u64,
    /// The mask of statmount(2), or the last mount of the previous listmount(2).
    param: u64,
    namespace: u64,
}

impl Request {
    /// Without a namespace, the request has the size of Linux 6.8, which did not know the field.
    fn new(mount: u64, param: u64, namespace: Option<u64>) -> Self {
        Self { size: if namespace.is_some() { 32 } else { 24 }, fd: 0, mount, param, namespace: namespace.unwrap_or(0) }
    }
}

/// statmount(2) of a mount's unique id, in the mount namespace of this id or in the caller's; returns the id in the answer.
///
/// # Errors
/// `ENOSYS` before Linux 6.8; `ENOENT` if the namespace has no such mount; `EINVAL` for a namespace before Linux 6.11.
pub(crate) fn statmount(mount: u64, namespace: Option<u64>) -> Result<u64> {
    stat(&Request::new(mount, STATMOUNT_MNT_BASIC, namespace), 0)
}

/// statmount(2) of the mount of a descriptor; returns the mount's unique id. Linux 7.0.
///
/// # Errors
/// `EINVAL` before Linux 7.0.
pub(crate) fn statmount_by_fd(file: impl AsFd) -> Result<u64> {
    let fd = u32::try_from(file.as_fd().as_raw_fd()).map_err(|_| Errno::EBADF)?;
    stat(&Request { fd, ..Request::new(0, STATMOUNT_MNT_BASIC, Some(0)) }, STATMOUNT_BY_FD)
}

fn stat(request: &Request, flags: c_uint) -> Result<u64> {
    /// The offset of `mnt_id` in `struct statmount`, in units of 8 bytes.
    const MNT_ID: usize = 5;
    let mut found = [0_u64; 64];
    // SAFETY: request is a live struct of the size that it states, and the kernel writes up to 512 bytes to a live array.
    Errno::result(unsafe {
        libc::syscall(SYS_STATMOUNT, std::ptr::from_ref(request), found.as_mut_ptr(), size_of_val(&found), flags)
    })?;
    found.get(MNT_ID).copied().ok_or(Errno::EOVERFLOW)
}

/// listmount(2): the unique ids of up to 512 mounts below this one in the caller's mount namespace.
///
/// # Errors
/// `ENOSYS` before Linux 6.8.
pub(crate) fn listmount(mount: u64) -> Result<Vec<u64>> {
    let request = Request::new(mount, 0, None);
    let mut found = [0_u64; 512];
    // SAFETY: request is a live struct of the size that it states, and the kernel writes up to 512 ids to a live array.
    let count =
        Errno::result(unsafe { libc::syscall(SYS_LISTMOUNT, &raw const request, found.as_mut_ptr(), found.len(), 0) })?;
    Ok(found.iter().copied().take(usize::try_from(count).unwrap_or(0)).collect())
}

/// The mount namespace after this one, in the order of their ids. Linux 6.12.
///
/// # Errors
/// `ENOENT` after the last one; `ENOTTY` before Linux 6.12.
pub(crate) fn next_mount_namespace(namespace: impl AsFd) -> Result<OwnedFd> {
    /// `struct mnt_ns_info` of <linux/nsfs.h>: size, number of mounts, id.
    #[repr(C)]
    struct Info(u32, u32, u64);
    let mut info = Info(16, 0, 0);
    // SAFETY: the kernel reads and writes a struct of this layout, which is live.
    owned(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_MNT_GET_NEXT, &raw mut info) }.into())
}

/// A fanotify group for mount events, whose reads do not block. Linux 6.14.
///
/// # Errors
/// `EINVAL` before Linux 6.14.
pub(crate) fn mount_events() -> Result<OwnedFd> {
    notification_group(FAN_REPORT_MNT | libc::FAN_NONBLOCK | libc::FAN_CLOEXEC)
}

/// Has the group report new mounts of the mount namespace of an open file `/proc/PID/ns/mnt`.
///
/// # Errors
/// As `fanotify_mark(2)`.
pub(crate) fn watch_mounts(group: impl AsFd, namespace: impl AsFd) -> Result<()> {
    let (group, namespace) = (group.as_fd().as_raw_fd(), namespace.as_fd().as_raw_fd());
    let none = std::ptr::null();
    // SAFETY: a null path stands for the descriptor itself.
    let done = unsafe { libc::fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_MNTNS, FAN_MNT_ATTACH, namespace, none) };
    Errno::result(done).map(drop)
}
