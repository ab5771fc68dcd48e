//! Network namespaces.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::errno::Errno;
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::support::{Scratch, decide, judge, read, require, write};
use super::{Finding, Probe, Scenario, Trouble, Undo, netlink};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&ABSTRACT_UNIX, &DEVICES, &PATHNAME_UNIX, &PORT, &SYSCTL];

const ABSTRACT_UNIX: Scenario = Scenario::new(
    "net.abstract-unix",
    "An abstract Unix socket cannot be reached from another network namespace",
    abstract_unix,
)
.shows(&["3j"], "network_namespaces(7), unix(7)")
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_UNIX"], 2, 6, 29);

fn abstract_unix(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let name = format!("vmlab-{}", getpid());
    let address = SocketAddr::from_abstract_name(&name).during("creating an abstract address")?;
    let _listener = UnixListener::bind_addr(&address).during("bind(2) of an abstract socket")?;
    let connected = sandbox.run(|| connect(&address))?;
    judge(&format!("connect(@{name}) inside"), &connected, &refused(Errno::ECONNREFUSED), &Ok(()))
}

const DEVICES: Scenario = Scenario::new(
    "net.devices",
    "A network device created outside is not listed inside; a loopback device is",
    devices,
)
.shows(&["3j"], "network_namespaces(7), rtnetlink(7)")
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_DUMMY"], 2, 6, 29)
.with_modules(&["dummy"])
.probed_by(probe_dummy);

fn devices(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let name = device_name();
    require("RTM_NEWLINK outside", &netlink::add_dummy(&name)?, &Ok(()))?;
    let _gone = Undo::new("the network device", || netlink::delete(&name));
    let inside = sandbox.run(netlink::names)?;
    require("whether a loopback device exists inside", &inside.iter().any(|name| name == "lo"), &true)?;
    let listed = inside.contains(&name);
    decide("network devices inside", &inside, (!listed, listed), format_args!("a list with or without {name}"))
}

fn probe_dummy() -> Result<Probe, Trouble> {
    let name = device_name();
    match netlink::add_dummy(&name)?.map_err(Code::errno) {
        Ok(()) => netlink::delete(&name).map(|()| Probe::Available),
        Err(Errno::EOPNOTSUPP) => Ok(Probe::Missing("RTM_NEWLINK of kind dummy: EOPNOTSUPP".to_owned())),
        Err(errno) => Err(errno).during("RTM_NEWLINK of kind dummy"),
    }
}

/// A name of at most 15 bytes, the limit of `netdevice(7)`.
fn device_name() -> String {
    format!("vmlab{}", getpid())
}

const PATHNAME_UNIX: Scenario = Scenario::new(
    "net.pathname-unix",
    "A Unix socket in the file system can be reached from any network namespace",
    pathname_unix,
)
.shows(&["3j"], "network_namespaces(7), unix(7)")
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_UNIX"], 2, 6, 29)
.leaks_by_design();

fn pathname_unix(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let address = SocketAddr::from_pathname(scratch.join("socket")).during("creating an address")?;
    let _listener = UnixListener::bind_addr(&address).during("bind(2) of a socket in the file system")?;
    let connected = sandbox.run(|| connect(&address))?;
    judge("connect(2) by path inside", &connected, &refused(Errno::ECONNREFUSED), &Ok(()))
}

const PORT: Scenario = Scenario::new("net.port", "A TCP port that is in use outside is free inside", port)
    .shows(&["3j"], "network_namespaces(7)")
    .inside(&[Namespace::Net])
    .needs(&["CONFIG_NET_NS", "CONFIG_INET"], 2, 6, 29);

fn port(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).during("bind(2) of a TCP socket")?;
    let address = listener.local_addr().during("getsockname(2)")?;
    let bound = sandbox.run(|| Ok(answer("bind(2)", TcpListener::bind(address))?.map(drop)))?;
    judge(&format!("bind({address}) inside"), &bound, &Ok(()), &refused(Errno::EADDRINUSE))
}

const SYSCTL: Scenario = Scenario::new("net.sysctl", "/proc/sys/net belongs to the writer's network namespace", sysctl)
    .shows(&["3j"], "network_namespaces(7)")
    .inside(&[Namespace::Net])
    .needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_PROC_FS"], 2, 6, 29);

fn sysctl(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let file = "/proc/sys/net/ipv4/ip_forward";
    let before = read(file)?;
    let other = if before == "0" { "1" } else { "0" }.to_owned();
    let _back = Undo::new("ip_forward", || write(file, &before));
    let inside = sandbox.run(|| {
        write(file, &other)?;
        read(file)
    })?;
    require("ip_forward inside", &inside, &other)?;
    judge("ip_forward outside", &read(file)?, &before, &other)
}

fn connect(address: &SocketAddr) -> Result<Answer, Trouble> {
    Ok(answer("connect(2)", UnixStream::connect_addr(address))?.map(drop))
}
