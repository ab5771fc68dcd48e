//! Root of a user namespace rules over its own network: packet filter, routes and raw frames.

use std::io::{Read as _, Write as _, pipe};
use std::net::{Ipv4Addr, UdpSocket};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use nix::unistd::getpid;
use std::os::fd::AsRawFd as _;
use vmlab_protocol::catalogue::Namespace;

use super::nft::{self, Hook};
use super::{Finding, Scenario, Trouble, judge, known, link, netns, read, require};
use crate::sandbox::{Answer, During, Sandbox, answer, refused};
use crate::sys::process::fork_with;

pub(super) const NFTABLES: Scenario = Scenario::new(
    "net.nftables",
    "An nftables rule made by root of a user namespace does not filter packets outside",
    nftables,
)
.shows(&["network-policy"], "network_namespaces(7), nft(8)")
.steps(&[
    "Outside: a UDP socket is bound to a port of the loopback device.",
    "Inside: brings the loopback device up, and adds a rule that drops outgoing packets to this port.",
    "Inside: send(2) to the port must fail with EPERM.",
    "Outside: send(2) to the port must succeed.",
])
.inside(&[Namespace::User, Namespace::Net])
.needs(&["CONFIG_USER_NS", "CONFIG_NET_NS", "CONFIG_INET", "CONFIG_NF_TABLES", "CONFIG_NF_TABLES_IPV4"], 3, 13, 0)
.with_modules(&["nf_tables"])
.probed_by(nft::probe);

fn nftables(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).during("bind(2) of a UDP socket")?;
    let port = receiver.local_addr().during("getsockname(2)")?.port();
    let (added, sent) = sandbox.run(|| {
        link::set_up("lo")?;
        Ok((nft::drop_port(Hook::Output, port)?, send(port, b"inside")?))
    })?;
    require("NFT_MSG_NEWRULE inside", &added, &Ok(()))?;
    require("send(2) inside", &sent, &refused(Errno::EPERM))?;
    judge("send(2) to the same port, outside", &send(port, b"outside")?, &Ok(()), &refused(Errno::EPERM))
}

pub(super) const PACKET_SOCKET: Scenario = Scenario::new(
    "net.packet-socket",
    "A packet socket of a user namespace's root receives no frame of a device outside",
    packet_socket,
)
.shows(&["network-policy", "network-ethernet"], "packet(7), network_namespaces(7)")
.steps(&[
    "Inside: opens a packet socket for all devices and protocols, and brings the loopback device up.",
    "Outside: a process sends a first datagram over the loopback device.",
    "Inside: sends a second datagram, and reads frames until it comes. The first datagram must not have come before.",
])
.inside(&[Namespace::User, Namespace::Net])
.needs(&["CONFIG_USER_NS", "CONFIG_NET_NS", "CONFIG_INET", "CONFIG_PACKET"], 3, 8, 0)
.probed_by(|| {
    let opened = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
    known("socket(AF_PACKET)", opened, &[Errno::EAFNOSUPPORT], &[])
});

fn packet_socket(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let (first, second) = (format!("first-{}", getpid()), format!("second-{}", getpid()));
    let (mut asked, mut ask) = pipe().during("pipe(2)")?;
    let (mut answered, mut answer) = pipe().during("pipe(2)")?;
    fork_with(|| {
        let done = asked.read_exact(&mut [0]).is_ok()
            && send(DISCARD, first.as_bytes()).is_ok_and(|sent| sent.is_ok())
            && answer.write_all(&[0]).is_ok();
        u8::from(!done)
    })
    .during("fork(2) of the sender outside")?;
    drop(answer);
    let seen = sandbox.run(|| {
        let protocol = SockProtocol::EthAll;
        let frames = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .during("socket(AF_PACKET) inside")?;
        link::set_up("lo")?;
        ask.write_all(&[0]).during("write(2) to the sender outside")?;
        answered.read_exact(&mut [0]).during("waiting for the sender outside")?;
        require("send(2) inside", &send(DISCARD, second.as_bytes())?, &Ok(()))?;
        let mut frame = [0; 2048];
        let mut seen = false;
        loop {
            let length = recv(frames.as_raw_fd(), &mut frame, MsgFlags::empty()).during("recv(2) of a frame")?;
            let frame = frame.get(..length).unwrap_or_default();
            seen |= frame.ends_with(first.as_bytes());
            if frame.ends_with(second.as_bytes()) {
                return Ok(seen);
            }
        }
    })?;
    judge("whether the packet socket received the datagram from outside", &seen, &false, &true)
}

/// A port on which nobody listens.
const DISCARD: u16 = 9;

pub(super) const ROUTE: Scenario =
    Scenario::new("net.route", "A route added by root of a user namespace is not in the routing table outside", route)
        .shows(&["network-policy"], "network_namespaces(7), proc_pid_net(5)")
        .steps(&[
            "Inside: brings the loopback device up, and routes 198.51.100.0/24 through it.",
            "Inside: /proc/net/route has the route.",
            "Outside: /proc/net/route must not have it.",
        ])
        .inside(&[Namespace::User, Namespace::Net])
        .needs(&["CONFIG_USER_NS", "CONFIG_NET_NS", "CONFIG_INET", "CONFIG_PROC_FS"], 3, 8, 0);

fn route(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const NETWORK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 0);
    netns::leave()?;
    let inside = sandbox.run(|| {
        link::set_up("lo")?;
        link::add_route(NETWORK, 24, "lo")?;
        has_route(NETWORK)
    })?;
    require("whether the route is in the table inside", &inside, &true)?;
    judge("whether the route is in the table outside", &has_route(NETWORK)?, &false, &true)
}

/// The table has addresses as hexadecimal numbers in the machine's byte order.
fn has_route(network: Ipv4Addr) -> Result<bool, Trouble> {
    let wanted = format!("{:08X}", u32::from_ne_bytes(network.octets()));
    let table = read("/proc/self/net/route")?;
    Ok(table.lines().any(|line| line.split_whitespace().nth(1) == Some(&wanted)))
}

/// Sends a datagram over the loopback device.
fn send(port: u16, text: &[u8]) -> Result<Answer, Trouble> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).during("bind(2) of a UDP socket")?;
    Ok(answer("send(2)", socket.send_to(text, (Ipv4Addr::LOCALHOST, port)))?.map(drop))
}
