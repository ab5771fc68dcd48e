//! Finds virtio-serial ports by their names.
//!
//! A port appears under /sys/class/virtio-ports some time after its driver was loaded, and gets its name later still. The kernel
//! announces both as uevents (drivers/char/virtio_console.c), so polling is not necessary.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};

const PORTS: &str = "/sys/class/virtio-ports";

/// A socket that receives uevents.
pub(crate) struct Watch {
    /// None if the kernel has no netlink; the directory is then polled.
    uevents: Option<OwnedFd>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self { uevents: listen().ok() }
    }

    /// Waits for the port of this name after all modules were loaded; returns its device node. The error lists the devices and ports
    /// that were found instead.
    pub(crate) fn wait_for_port(&self, name: &str, timeout: Duration) -> Result<PathBuf, String> {
        let deadline = Instant::now() + timeout;
        loop {
            let found = find_port(name);
            match found {
                Ok(Some(node)) => return Ok(node),
                Ok(None) => {}
                // The driver makes the directory when it is loaded (drivers/char/virtio_console.c, virtio_console_init), and
                // all modules are loaded by now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(format!(
                        "no virtio-serial port named {name} can appear, because its driver is not loaded; {}",
                        present_devices()
                    ));
                }
                Err(error) => return Err(format!("cannot read {PORTS}: {error}")),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "no virtio-serial port named {name} appeared within {} ms; {}",
                    timeout.as_millis(),
                    present_devices()
                ));
            }
            self.sleep_until_event(left).map_err(|error| format!("cannot wait for uevents: {error}"))?;
        }
    }

    fn sleep_until_event(&self, left: Duration) -> Result<(), Errno> {
        let Some(socket) = &self.uevents else {
            std::thread::sleep(left.min(Duration::from_millis(5)));
            return Ok(());
        };
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        let mut event = [0; 4096];
        loop {
            match recv(socket.as_raw_fd(), &mut event, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::EINTR) => {}
                // ENOBUFS means lost events, which also call for a new look at the directory.
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

fn listen() -> Result<OwnedFd, Errno> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkKObjectUEvent)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
    Ok(socket)
}

fn find_port(name: &str) -> io::Result<Option<PathBuf>> {
    for port in fs::read_dir(PORTS)? {
        let port = port?;
        // A port without a name yet has no `name` attribute or an empty one.
        let its_name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        if its_name.trim_end() == name {
            return Ok(Some(Path::new("/dev").join(port.file_name())));
        }
    }
    Ok(None)
}

/// Lists the virtio devices, ports and drivers, for the error message.
fn present_devices() -> String {
    let names = |dir: &str| -> String {
        let names: Vec<_> = fs::read_dir(dir)
            .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    };
    format!(
        "virtio devices: {}; ports: {}; drivers: {}",
        names("/sys/bus/virtio/devices"),
        names(PORTS),
        names("/sys/bus/virtio/drivers")
    )
}
