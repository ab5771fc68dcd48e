//! The socket on which a guest's QEMU listens for debuggers (QEMU's manual, "GDB usage").

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use tempfile::TempDir;

/// A socket in a directory that only this user can enter. Dropping it removes both.
#[derive(Debug)]
pub(super) struct DebuggerSocket {
    dir: TempDir,
}

impl DebuggerSocket {
    /// Makes the socket; also returns QEMU's end.
    pub(super) fn listen() -> io::Result<(Self, OwnedFd)> {
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute() && dir.is_dir());
        let made = tempfile::Builder::new().prefix("vmlab-").tempdir_in(runtime.unwrap_or_else(env::temp_dir))?;
        let socket = Self { dir: made };
        let listener = UnixListener::bind(socket.path())?;
        Ok((socket, listener.into()))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("gdb")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_socket_is_private_and_goes_with_its_owner() {
        let (socket, _listener) = DebuggerSocket::listen().unwrap();
        let path = socket.path();
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o7777, 0o700);
        drop(socket);
        assert!(!path.parent().unwrap().exists());
    }
}
