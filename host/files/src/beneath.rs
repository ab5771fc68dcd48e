//! Opens files beneath a directory.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// How often a lookup is repeated that another process's rename has disturbed (openat2(2), EAGAIN).
const ATTEMPTS: usize = 8;

/// Opens what is at a relative path, which exists. The path leads nowhere but beneath the directory and through no symbolic link,
/// whatever other processes do. The empty path is the directory itself.
///
/// # Errors
/// As openat2(2): `EXDEV` if the path leads out of the directory, `ELOOP` if there is a symbolic link in it.
pub fn open_beneath(directory: impl AsFd, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 0..ATTEMPTS {
        match openat2(&directory, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::EAGAIN)
}
