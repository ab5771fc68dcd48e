//! Which sockets can be reached from another network namespace.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, connect, listen, socket};
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::{Finding, Probe, Scenario, Trouble, judge, netns, require, write};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::scenarios::support::{Scratch, exists};

pub(super) const ABSTRACT_UNIX: Scenario = Scenario::new(
    "net.abstract-unix",
    "An abstract Unix socket cannot be reached from another network namespace",
    abstract_unix,
)
.shows(&["3j", "network-proc"], "network_namespaces(7), unix(7)")
.steps(&[
    "Outside: bind(2) and listen(2) on an abstract Unix address.",
    "Inside: connect(2) to this address must fail with ECONNREFUSED, as if nobody listened.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_UNIX"], 2, 6, 29);

fn abstract_unix(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let name = format!("vmlab-{}", getpid());
    let address = SocketAddr::from_abstract_name(&name).during("creating an abstract address")?;
    let _listener = UnixListener::bind_addr(&address).during("bind(2) of an abstract socket")?;
    let connected = sandbox.run(|| connect_unix(&address))?;
    judge(&format!("connect(@{name}) inside"), &connected, &refused(Errno::ECONNREFUSED), &Ok(()))
}

pub(super) const NETLINK_PORT: Scenario =
    Scenario::new("net.netlink-port", "A netlink port number that a socket outside has is free inside", netlink_port)
        .shows(&["network-proc"], "netlink(7), network_namespaces(7)")
        .steps(&[
            "Outside: bind(2) of a netlink socket to a port number.",
            "Inside: bind(2) of another netlink socket to the same number must succeed.",
        ])
        .inside(&[Namespace::Net])
        .needs(&["CONFIG_NET_NS"], 2, 6, 29);

fn netlink_port(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let take = |port| -> Result<(netlink_sys::Socket, Answer), Trouble> {
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE).during("socket(AF_NETLINK)")?;
        let bound = answer("bind(2) of a netlink socket", socket.bind(&netlink_sys::SocketAddr::new(port, 0)))?;
        Ok((socket, bound))
    };
    let port = getpid().as_raw().cast_unsigned();
    let (_socket, bound) = take(port)?;
    require("bind(2) outside", &bound, &Ok(()))?;
    let inside = sandbox.run(|| Ok(take(port)?.1))?;
    judge(&format!("bind(2) to netlink port {port} inside"), &inside, &Ok(()), &refused(Errno::EADDRINUSE))
}

pub(super) const PATHNAME_UNIX: Scenario = Scenario::new(
    "net.pathname-unix",
    "A Unix socket in the file system can be reached from any network namespace",
    pathname_unix,
)
.shows(&["3j", "network-proc"], "network_namespaces(7), unix(7)")
.steps(&[
    "Outside: bind(2) and listen(2) on a Unix address in the file system.",
    "Inside: connect(2) to this address succeeds, because the path is looked up in the mount namespace.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_UNIX"], 2, 6, 29)
.leaks_by_design();

fn pathname_unix(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let address = SocketAddr::from_pathname(scratch.join("socket")).during("creating an address")?;
    let _listener = UnixListener::bind_addr(&address).during("bind(2) of a socket in the file system")?;
    let connected = sandbox.run(|| connect_unix(&address))?;
    judge("connect(2) by path inside", &connected, &refused(Errno::ECONNREFUSED), &Ok(()))
}

pub(super) const PORT: Scenario = Scenario::new("net.port", "A TCP port that is in use outside is free inside", port)
    .shows(&["3j"], "network_namespaces(7)")
    .steps(&[
        "Outside: bind(2) of a TCP socket to a free port.",
        "Inside: bind(2) of another TCP socket to the same port must succeed.",
    ])
    .inside(&[Namespace::Net])
    .needs(&["CONFIG_NET_NS", "CONFIG_INET"], 2, 6, 29);

fn port(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).during("bind(2) of a TCP socket")?;
    let address = listener.local_addr().during("getsockname(2)")?;
    let bound = sandbox.run(|| Ok(answer("bind(2)", TcpListener::bind(address))?.map(drop)))?;
    judge(&format!("bind({address}) inside"), &bound, &Ok(()), &refused(Errno::EADDRINUSE))
}

/// Once written, its value stays (net/vmw_vsock/af_vsock.c, `vsock_net_child_mode_string`).
const CHILD_MODE: &str = "/proc/sys/net/vsock/child_ns_mode";
/// The address of the machine itself (vsock(7)).
const VMADDR_CID_LOCAL: u32 = 1;

pub(super) const VSOCK: Scenario = Scenario::new(
    "net.vsock",
    "A vsock listener outside cannot be reached from a network namespace of vsock mode local",
    vsock,
)
.shows(
    &["network-proc", "later-netkit-vsock", "version-24"],
    "Documentation/admin-guide/sysctl/net.rst, section /proc/sys/net/vsock",
)
.steps(&[
    "Outside: bind(2) and listen(2) on a vsock address of the machine itself.",
    "Enters an intermediate network namespace, and sets net.vsock.child_ns_mode to local there, if it exists.",
    "Inside, in a child of that namespace: connect(2) must fail with ECONNRESET. Before Linux 7.0 it succeeds.",
    "The control connects from the intermediate namespace, whose own mode is global.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_VSOCKETS", "CONFIG_VSOCKETS_LOOPBACK"], 5, 6, 0)
.with_modules(&["vsock_loopback"])
.isolates_since((7, 0, 0), &[])
.probed_by(probe_vsock);

fn vsock(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let port = getpid().as_raw().cast_unsigned();
    let listener = vsock_socket().during("socket(AF_VSOCK)")?;
    let address = VsockAddr::new(VMADDR_CID_LOCAL, port);
    bind(listener.as_raw_fd(), &address).during("bind(2) of a vsock")?;
    listen(&listener, Backlog::MAXCONN).during("listen(2) of a vsock")?;
    netns::leave()?;
    if exists(CHILD_MODE.as_ref())? {
        write(CHILD_MODE, "local")?;
    }
    let connected = sandbox.run(|| {
        let socket = vsock_socket().during("socket(AF_VSOCK) inside")?;
        Ok(connect(socket.as_raw_fd(), &address).map_err(Code::from))
    })?;
    judge("connect(2) to a vsock listener outside", &connected, &refused(Errno::ECONNRESET), &Ok(()))
}

fn vsock_socket() -> nix::Result<std::os::fd::OwnedFd> {
    socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
}

fn probe_vsock() -> Result<Probe, Trouble> {
    super::known("socket(AF_VSOCK)", vsock_socket(), &[Errno::EAFNOSUPPORT], &[])
}

fn connect_unix(address: &SocketAddr) -> Result<Answer, Trouble> {
    Ok(answer("connect(2)", UnixStream::connect_addr(address))?.map(drop))
}
