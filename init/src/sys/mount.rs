//! The mount calls that take descriptors: open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2), `mount_setattr(2)`,
//! and fchroot(2).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_uint};
use nix::{NixPath, Result};

use super::descriptor::owned;

/// The number of `open_tree_attr(2)`, Linux 6.15.
const SYS_OPEN_TREE_ATTR: c_long = 467;
/// The number of fchroot(2), Linux 7.3.
const SYS_FCHROOT: c_long = 472;

// Flags of <linux/mount.h>.
pub(crate) const OPEN_TREE_CLONE: c_uint = 1;
/// Linux 7.0.
pub(crate) const OPEN_TREE_NAMESPACE: c_uint = 1 << 1;
/// Linux 5.15.
pub(crate) const MOVE_MOUNT_SET_GROUP: c_uint = 0x100;
/// Linux 6.5.
pub(crate) const MOVE_MOUNT_BENEATH: c_uint = 0x200;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x4;
/// Linux 7.1.
pub(crate) const FSMOUNT_NAMESPACE: c_uint = 2;
pub(crate) const FSCONFIG_CMD_CREATE: c_uint = 6;
/// Linux 6.6.
pub(crate) const FSCONFIG_CMD_CREATE_EXCL: c_uint = 8;
/// The root of failfs (<linux/fcntl.h>), Linux 7.3.
pub(crate) const FD_FAILFS_ROOT: c_int = -10004;

/// The place of a mount: a path, or a descriptor of the mount's root.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    Path(&'a Path),
    Mount(BorrowedFd<'a>),
    /// A descriptor that is never open, for probes: a kernel that knows the call and its flags answers `EBADF`.
    Nowhere,
}

impl At<'_> {
    /// Calls `call` with the directory, the path, and the flags that an empty path needs.
    fn with<T>(self, empty_path: c_uint, call: impl FnOnce(c_int, &CStr, c_uint) -> Result<T>) -> Result<T> {
        match self {
            At::Path(path) => path.with_nix_path(|path| call(libc::AT_FDCWD, path, 0))?,
            At::Mount(fd) => call(fd.as_raw_fd(), c"", empty_path),
            At::Nowhere => call(-1, c"nothing", 0),
        }
    }
}

/// What `mount_setattr(2)` changes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    /// The user namespace whose id maps the mount gets (`MOUNT_ATTR_IDMAP`).
    pub(crate) id_map: Option<BorrowedFd<'a>>,
}

impl Attributes<'_> {
    pub(crate) const READ_ONLY: Self = Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0, id_map: None };
    pub(crate) const WRITABLE: Self = Attributes { set: 0, clear: libc::MOUNT_ATTR_RDONLY, id_map: None };
    pub(crate) const NOT_ID_MAPPED: Self = Attributes { set: 0, clear: libc::MOUNT_ATTR_IDMAP, id_map: None };

    /// # Errors
    /// `EINVAL` for a descriptor of a negative number.
    fn raw(self) -> Result<libc::mount_attr> {
        let (flag, userns_fd) = match self.id_map {
            Some(fd) => (libc::MOUNT_ATTR_IDMAP, u64::try_from(fd.as_raw_fd()).map_err(|_| Errno::EINVAL)?),
            None => (0, 0),
        };
        Ok(libc::mount_attr { attr_set: self.set | flag, attr_clr: self.clear, propagation: 0, userns_fd })
    }
}

/// `mount_setattr(2)`, Linux 5.12. `recursive` includes the mounts below.
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EINVAL` if the place is no mount point, or if the file system does not support id maps;
/// `EBUSY` if a file of one of the mounts is open for writing; `EPERM` for a locked attribute.
pub(crate) fn set_attributes(at: At<'_>, recursive: bool, attributes: Attributes<'_>) -> Result<()> {
    let attr = attributes.raw()?;
    let more = if recursive { libc::AT_RECURSIVE.cast_unsigned() } else { 0 };
    at.with(libc::AT_EMPTY_PATH.cast_unsigned(), |dir, path, flags| {
        // SAFETY: path is NUL-terminated and attr is a live struct of the size given; the kernel only reads both.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                dir,
                path.as_ptr(),
                flags | more,
                &raw const attr,
                size_of::<libc::mount_attr>(),
            )
        })
        .map(drop)
    })
}

/// open_tree(2), Linux 5.2. With `OPEN_TREE_CLONE` the result is a copy of the mount that is attached nowhere.
///
/// # Errors
/// `EINVAL` for an unknown flag; `EPERM` without `CAP_SYS_ADMIN`.
pub(crate) fn open_tree(at: At<'_>, flags: c_uint) -> Result<OwnedFd> {
    at.with(libc::AT_EMPTY_PATH.cast_unsigned(), |dir, path, empty| {
        let flags = flags | empty | libc::O_CLOEXEC.cast_unsigned();
        // SAFETY: path is NUL-terminated; the kernel only reads it.
        owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
    })
}

/// `open_tree_attr(2)`, Linux 6.15: open_tree(2) and `mount_setattr(2)` in one call.
///
/// # Errors
/// `ENOSYS` before Linux 6.15; otherwise as the two calls.
pub(crate) fn open_tree_attr(at: At<'_>, flags: c_uint, attributes: Attributes<'_>) -> Result<OwnedFd> {
    let attr = attributes.raw()?;
    at.with(libc::AT_EMPTY_PATH.cast_unsigned(), |dir, path, empty| {
        let flags = flags | empty | libc::O_CLOEXEC.cast_unsigned();
        // SAFETY: path is NUL-terminated and attr is a live struct of the size given; the kernel only reads both.
        owned(unsafe {
            libc::syscall(SYS_OPEN_TREE_ATTR, dir, path.as_ptr(), flags, &raw const attr, size_of::<libc::mount_attr>())
        })
    })
}

/// `move_mount(2)`, Linux 5.2.
///
/// # Errors
/// `EINVAL` for an unknown flag, and for mounts that may not be moved so.
pub(crate) fn move_mount(from: At<'_>, to: &Path, flags: c_uint) -> Result<()> {
    from.with(MOVE_MOUNT_F_EMPTY_PATH, |dir, path, empty| {
        to.with_nix_path(|to| {
            // SAFETY: both paths are NUL-terminated; the kernel only reads them.
            Errno::result(unsafe {
                libc::syscall(libc::SYS_move_mount, dir, path.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags | empty)
            })
            .map(drop)
        })?
    })
}

/// fsopen(2), Linux 5.2: a new file system's context.
///
/// # Errors
/// `ENODEV` for an unknown file system.
pub(crate) fn fsopen(file_system: &CStr) -> Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated; the kernel only reads it. 1 is FSOPEN_CLOEXEC.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, file_system.as_ptr(), 1) })
}

/// fsconfig(2): sets an option of the file system to a string.
///
/// # Errors
/// `EINVAL` for an option or a value that the file system does not know.
pub(crate) fn fsconfig_string(context: impl AsFd, key: &CStr, value: &CStr) -> Result<()> {
    const FSCONFIG_SET_STRING: c_uint = 1;
    let (context, key, value) = (context.as_fd().as_raw_fd(), key.as_ptr(), value.as_ptr());
    // SAFETY: key and value are NUL-terminated.
    Errno::result(unsafe { libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0) }).map(drop)
}

/// fsconfig(2) of a command without a parameter.
///
/// # Errors
/// `EOPNOTSUPP` for an unknown command; `EBUSY` if `FSCONFIG_CMD_CREATE_EXCL` finds that the file system is in use.
pub(crate) fn fsconfig(context: impl AsFd, command: c_uint) -> Result<()> {
    let none = std::ptr::null::<u8>();
    // SAFETY: these commands take no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_fd().as_raw_fd(), command, none, none, 0) })
        .map(drop)
}

/// fsmount(2), Linux 5.2. With `FSMOUNT_NAMESPACE` the result is a mount namespace.
///
/// # Errors
/// `EINVAL` for an unknown flag.
pub(crate) fn fsmount(context: impl AsFd, flags: c_uint) -> Result<OwnedFd> {
    // SAFETY: the call takes no pointers. 1 is FSMOUNT_CLOEXEC.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_fd().as_raw_fd(), flags | 1, 0) })
}

/// The errno of fsmount(2) with these flags for a descriptor that is never open: `EBADF`, or `EINVAL` for an unknown flag.
pub(crate) fn fsmount_nothing(flags: c_uint) -> Result<()> {
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_fsmount, -1, flags, 0) }).map(drop)
}

/// fchroot(2), Linux 7.3. `directory` is a descriptor or [`FD_FAILFS_ROOT`].
///
/// # Errors
/// `ENOSYS` before Linux 7.3; `EBADF`.
pub(crate) fn fchroot(directory: c_int) -> Result<()> {
    // SAFETY: the call takes no pointers.
    Errno::result(unsafe { libc::syscall(SYS_FCHROOT, directory, 0) }).map(drop)
}
