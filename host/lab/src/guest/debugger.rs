//! The socket on which a guest's QEMU listens for debuggers (QEMU's manual, "GDB usage").

use std::env;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use tempfile::TempDir;

/// The socket's first name.
const EARLY: &str = "early";

/// A socket in a directory that only this user can enter. Dropping it removes both.
#[derive(Debug)]
pub(super) struct DebuggerSocket {
    dir: TempDir,
}

impl DebuggerSocket {
    /// Makes the socket; also returns QEMU's end.
    pub(super) fn listen() -> io::Result<(Self, OwnedFd)> {
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute() && dir.is_dir());
        let private = Permissions::from_mode(0o700);
        let made = tempfile::Builder::new()
            .prefix("vmlab-")
            .permissions(private)
            .tempdir_in(runtime.unwrap_or_else(env::temp_dir))?;
        let listener = UnixListener::bind(made.path().join(EARLY))?;
        Ok((Self { dir: made }, listener.into()))
    }

    /// Gives the socket the name under which debuggers find it, and returns its path. A debugger must not come before a fork is
    /// loaded: QEMU 7.2 runs the fork on the debugger's order although half of it is there.
    pub(super) fn open(&self) -> io::Result<PathBuf> {
        let path = self.dir.path().join("gdb");
        fs::rename(self.dir.path().join(EARLY), &path)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_socket_is_private_and_goes_with_its_owner() {
        let (socket, _listener) = DebuggerSocket::listen().unwrap();
        let path = socket.open().unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o7777, 0o700);
        drop(socket);
        assert!(!path.parent().unwrap().exists());
    }
}
