//! What the kernel sends to user space: uevents, and core dumps over a socket.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, raise};
use nix::sys::socket::{MsgFlags, recv};
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{During, Sandbox, WAIT_LIMIT, answer, readable};
use crate::scenarios::support::{Scratch, judge, present, read, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sys::pidfd;
use crate::sys::process::{default_action, fork_with};

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

pub(super) const CORE_SOCKET: Scenario = Scenario::new(
    "namespace.core-socket",
    "A core dump goes to the host's socket from inside all namespaces: core_pattern has none",
    core_socket,
)
.shows(&["later-limits"], "core(5), section Socket-based core dump; fs/coredump.c, coredump_sock_connect")
.steps(&[
    "Outside: listens on a socket, and writes @ and its path to /proc/sys/kernel/core_pattern.",
    "Inside mount, network and PID namespaces: a process dies from SIGSEGV.",
    "Outside: the kernel connects to the socket, although its path and its network are not those inside.",
])
.inside(&[Namespace::Mount, Namespace::Net, Namespace::Pid])
.needs(&["CONFIG_COREDUMP", "CONFIG_UNIX", "CONFIG_NET_NS", "CONFIG_PID_NS"], 6, 16, 0)
.probed_by(probe_core_socket)
.leaks_by_design();

fn core_socket(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let path = scratch.join("core");
    let listener = UnixListener::bind(&path).during("bind(2) of a socket")?;
    let before = read(CORE_PATTERN)?;
    let _back = Undo::new("core_pattern", || write(CORE_PATTERN, &before));
    write(CORE_PATTERN, &format!("@{}", path.display()))?;
    let _inside = sandbox.hold(|| {
        fork_with(|| {
            let _killed = default_action(Signal::SIGSEGV).and_then(|()| raise(Signal::SIGSEGV));
            1
        })
        .map(drop)
        .during("fork(2) inside")
    })?;
    // Closing the connection ends the dump.
    let connected = readable(&listener, PollFlags::POLLIN, WAIT_LIMIT)?;
    judge("whether the kernel connects to the socket outside", &connected, &false, &true)
}

/// Kernels with core dump sockets refuse a path that is not absolute; others take it for the name of a file.
fn probe_core_socket() -> Result<Probe, Trouble> {
    if let missing @ Probe::Missing(_) = present(CORE_PATTERN)? {
        return Ok(missing);
    }
    let before = read(CORE_PATTERN)?;
    let _back = Undo::new("core_pattern", || write(CORE_PATTERN, &before));
    Ok(match answer("writing core_pattern", fs::write(CORE_PATTERN, "@relative"))? {
        Ok(()) => Probe::Missing("core_pattern takes @relative for the name of a file".to_owned()),
        Err(code) if code.errno() == Errno::EINVAL => Probe::Available,
        Err(code) => return Err(code.errno()).during("writing @relative to core_pattern"),
    })
}

/// A device that each kernel has, and its file that triggers an event.
const TRIGGER: &str = "/sys/class/mem/null/uevent";
/// `NETLINK_KOBJECT_UEVENT` of <linux/netlink.h>.
const UEVENTS: isize = 15;

pub(super) const UEVENT: Scenario = Scenario::new(
    "namespace.uevent",
    "A network namespace that belongs to a user namespace gets no events of the host's devices",
    uevent,
)
.shows(&["later-limits", "capabilities"], "lib/kobject_uevent.c, uevent_net_broadcast_untagged and kobj_bcast_filter")
.steps(&[
    "Inside user and network namespaces: a process opens a socket for the kernel's device events (uevents).",
    "Outside: writes change to /sys/class/mem/null/uevent. The kernel delivers the event before the write returns.",
    "The socket inside must have received nothing.",
    "The control's network namespace belongs to the initial user namespace, and gets the event.",
])
.inside(&[Namespace::User, Namespace::Net])
.control_inside(&[Namespace::Net])
.needs(&["CONFIG_USER_NS", "CONFIG_NET_NS"], 4, 18, 0);

fn uevent(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| {
        let mut socket = Socket::new(UEVENTS).during("socket(NETLINK_KOBJECT_UEVENT)")?;
        socket.bind(&SocketAddr::new(0, 1)).during("bind(2) of a netlink socket")?;
        let descriptor = socket.as_raw_fd();
        // It stays open as long as its process.
        std::mem::forget(socket);
        Ok(descriptor)
    })?;
    let pidfd = pidfd::open(inside.pid(), 0).during("pidfd_open(2)")?;
    let socket = pidfd::get_descriptor(pidfd, *inside.value()).during("pidfd_getfd(2)")?;
    if !Path::new(TRIGGER).exists() {
        return Err(Trouble::new(format_args!("{TRIGGER} does not exist")));
    }
    write(TRIGGER, "change")?;
    let mut seen = false;
    loop {
        let mut message = [0; 4096];
        match recv(socket.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                let text = message.get(..length).map(String::from_utf8_lossy).unwrap_or_default();
                seen |= text.starts_with("change@") && text.contains("/mem/null");
            }
            Err(Errno::EAGAIN) => break,
            Err(errno) => return Err(errno).during("recv(2) of a netlink socket"),
        }
    }
    judge("whether the socket inside has received the event", &seen, &false, &true)
}
