//! One device with several personalities: macvlan, ipvlan and VRF.

use std::net::{Ipv4Addr, UdpSocket};

use nix::errno::Errno;
use nix::libc::{SO_BINDTODEVICE, SOL_SOCKET};

use super::link::{self, Device, device_name, probe};
use super::netns::{self, Netns};
use super::nft::{self, Hook};
use super::routing::probe_veth;
use super::wires::{connect, give, host, received, tcp, udp};
use super::{Finding, Probe, Scenario, Trouble, judge, read, require};
use crate::sandbox::{Answer, During, Sandbox, answer, refused};
use crate::scenarios::support::pin_to;
use crate::sys::socket::set_bytes;

/// Modes of a macvlan, and of an ipvlan (include/uapi/linux/if_link.h).
const PRIVATE: u32 = 1;
const BRIDGED: u32 = 4;
const L2: u16 = 0;
const L3: u16 = 1;
const L3S: u16 = 2;

fn macvlan(name: &str, mode: u32) -> Device<'_> {
    Device::new("macvlan", name).on(PARENT).first_setting(&mode.to_ne_bytes())
}

fn ipvlan(name: &str, mode: u16) -> Device<'_> {
    Device::new("ipvlan", name).on(PARENT).first_setting(&mode.to_ne_bytes())
}

/// The device that others are made of: one end of a cable.
const PARENT: &str = "parent";

/// Enters a new network namespace with the parent, whose cable ends in another one.
fn parent() -> Result<(Netns, Netns), Trouble> {
    netns::leave()?;
    let (here, far) = (Netns::current()?, Netns::new()?);
    connect((&here, PARENT, Some(host(254))), (&far, "far", Some(host(253))))?;
    Ok((here, far))
}

fn probe_kind(kind: &'static str) -> Result<Probe, Trouble> {
    let (parent, peer, name) = (device_name('r'), device_name('s'), device_name('p'));
    match probe_veth()? {
        missing @ Probe::Missing(_) => Ok(missing),
        Probe::Available => {
            netns::leave()?;
            Device::pair("veth", &parent, &peer).add()?;
            probe(Device::new(kind, &name).on(&parent))
        }
    }
}

pub(super) const MACVLAN_PARENT: Scenario = Scenario::new(
    "net.macvlan-parent",
    "A macvlan's parent device does not reach the macvlan, though its siblings do",
    macvlan_parent,
)
.shows(&["network-split"], "ip-link(8), section MACVLAN and MACVTAP Type Support")
.steps(&[
    "The subject makes two macvlans in bridge mode on a device, and moves them to two new network namespaces A and B.",
    "From A: connect(2) to B succeeds.",
    "From the namespace of the parent device: connect(2) to A must fail with EHOSTUNREACH.",
    "The control gives A a cable to this namespace instead, over which connect(2) succeeds.",
])
.by_means_of("macvlan")
.needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_MACVLAN", "CONFIG_VETH"], 2, 6, 34)
.with_modules(&["macvlan", "veth"])
.probed_by(|| probe_kind("macvlan"));

fn macvlan_parent(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let a = Netns::new()?;
    let (here, _kept) = if sandbox.applies() {
        let ((here, far), b) = (parent()?, Netns::new()?);
        for (name, netns, number) in [("a", &a, 1), ("b", &b, 2)] {
            macvlan(name, BRIDGED).add()?;
            give(name, netns, host(number))?;
        }
        require("connect(2) from A to B", &tcp(&a, &b, host(2))?, &Ok(()))?;
        (here, Some(far))
    } else {
        let here = Netns::new()?;
        connect((&here, PARENT, Some(host(254))), (&a, "a", Some(host(1))))?;
        (here, None)
    };
    judge("connect(2) from the parent to A", &tcp(&here, &a, host(1))?, &refused(Errno::EHOSTUNREACH), &Ok(()))
}

pub(super) const MACVLAN_PRIVATE: Scenario = Scenario::new(
    "net.macvlan-private",
    "Two macvlans in private mode do not reach each other; in bridge mode they do",
    macvlan_private,
)
.shows(&["network-split"], "ip-link(8), section MACVLAN and MACVTAP Type Support")
.steps(&[
    "Makes two macvlans on a device, and moves them to two new network namespaces A and B.",
    "From A: connect(2) to B must fail with EHOSTUNREACH in private mode. In bridge mode it succeeds.",
])
.by_means_of("MACVLAN_MODE_PRIVATE")
.needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_MACVLAN", "CONFIG_VETH"], 2, 6, 34)
.with_modules(&["macvlan", "veth"])
.probed_by(|| probe_kind("macvlan"));

fn macvlan_private(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let ((_here, _far), a, b) = (parent()?, Netns::new()?, Netns::new()?);
    for (name, netns, number) in [("a", &a, 1), ("b", &b, 2)] {
        macvlan(name, if sandbox.applies() { PRIVATE } else { BRIDGED }).add()?;
        give(name, netns, host(number))?;
    }
    judge("connect(2) from A to B", &tcp(&a, &b, host(2))?, &refused(Errno::EHOSTUNREACH), &Ok(()))
}

pub(super) const IPVLAN_ADDRESS: Scenario = Scenario::new(
    "net.ipvlan-address",
    "Two ipvlans on one device cannot have the same address: EADDRINUSE",
    ipvlan_address,
)
.shows(&["network-split"], "Documentation/networking/ipvlan.rst")
.steps(&[
    "Makes two ipvlans in L2 mode on a device, and moves them to two new network namespaces A and B.",
    "From A: connect(2) to B succeeds.",
    "In B: adding A's address must fail with EADDRINUSE.",
    "The control does the same with macvlans, which have a MAC address each and accept the address.",
])
.by_means_of("ipvlan")
.needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_IPVLAN", "CONFIG_MACVLAN", "CONFIG_VETH"], 3, 19, 0)
.with_modules(&["ipvlan", "macvlan", "veth"])
.probed_by(|| probe_kind("ipvlan"));

fn ipvlan_address(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let ((_here, _far), a, b) = (parent()?, Netns::new()?, Netns::new()?);
    for (name, netns, number) in [("a", &a, 1), ("b", &b, 2)] {
        if sandbox.applies() { ipvlan(name, L2) } else { macvlan(name, BRIDGED) }.add()?;
        give(name, netns, host(number))?;
    }
    require("connect(2) from A to B", &tcp(&a, &b, host(2))?, &Ok(()))?;
    let added = b.run(|| link::try_address("b", host(1), 24))?;
    judge("RTM_NEWADDR of A's address in B", &added, &refused(Errno::EADDRINUSE), &Ok(()))
}

pub(super) const IPVLAN_L3: Scenario =
    Scenario::new("net.ipvlan-l3", "Ipvlans in L3 mode exchange packets without resolving addresses by ARP", ipvlan_l3)
        .shows(&["network-ip"], "Documentation/networking/ipvlan.rst, section L3 mode")
        .steps(&[
            "Makes two ipvlans on a device, and moves them to two new network namespaces A and B.",
            "A routes B's network through its ipvlan, and B that of A.",
            "A datagram from A reaches B.",
            "In A: /proc/net/arp must have no entry for B. In L2 mode it has one.",
        ])
        .by_means_of("IPVLAN_MODE_L3")
        .needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_IPVLAN", "CONFIG_VETH", "CONFIG_PROC_FS"], 3, 19, 0)
        .with_modules(&["ipvlan", "veth"])
        .probed_by(|| probe_kind("ipvlan"));

fn ipvlan_l3(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let address = |number| Ipv4Addr::new(10, 1, number, 1);
    let ((_here, _far), a, b) = (parent()?, Netns::new()?, Netns::new()?);
    for (name, netns, number) in [("a", &a, 1), ("b", &b, 2)] {
        ipvlan(name, if sandbox.applies() { L3 } else { L2 }).add()?;
        give(name, netns, address(number))?;
        netns.run(|| link::add_route(Ipv4Addr::new(10, 1, 3 - number, 0), 24, name))?;
    }
    let (receiver, target) = udp(&b, address(2))?;
    let (sender, _) = udp(&a, address(1))?;
    sender.send_to(b"datagram", target).during("send(2) from A")?;
    require("the datagram in B", &received(&receiver)?.as_slice(), &b"datagram".as_slice())?;
    let table = a.run(|| read("/proc/self/net/arp"))?;
    let resolved = table.lines().any(|line| line.starts_with(&address(2).to_string()));
    judge("whether A's ARP table has an entry for B", &resolved, &false, &true)
}

pub(super) const IPVLAN_L3S: Scenario = Scenario::new(
    "net.ipvlan-l3s",
    "The packet filter of the parent's namespace sees what an ipvlan in L3S mode receives",
    ipvlan_l3s,
)
.shows(&["network-ip"], "Documentation/networking/ipvlan.rst, section L3S mode")
.steps(&[
    "Makes an ipvlan on a device with a cable to another network namespace, and moves the ipvlan to a new one, A.",
    "In the namespace of the parent: an nftables rule drops incoming packets to a port.",
    "From the far end of the cable: a datagram to this port of A, and one to another port, which comes.",
    "The first datagram must not have come. In L3 mode it has.",
])
.by_means_of("IPVLAN_MODE_L3S")
.needs(
    &[
        "CONFIG_NET_NS",
        "CONFIG_INET",
        "CONFIG_IPVLAN",
        "CONFIG_IPVLAN_L3S",
        "CONFIG_NF_TABLES",
        "CONFIG_NF_TABLES_IPV4",
        "CONFIG_VETH",
    ],
    4,
    9,
    0,
)
.with_modules(&["ipvlan", "veth", "nf_tables"])
.probed_by(|| probe_kind("ipvlan")?.and(nft::probe));

fn ipvlan_l3s(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
    let ((_here, far), a) = (parent()?, Netns::new()?);
    ipvlan("a", if sandbox.applies() { L3S } else { L3 }).add()?;
    give("a", &a, ADDRESS)?;
    far.run(|| link::add_gateway(ADDRESS, 32, host(254)))?;
    let ((filtered, first), (open, second)) = (udp(&a, ADDRESS)?, udp(&a, ADDRESS)?);
    filtered.set_nonblocking(true).during("fcntl(O_NONBLOCK)")?;
    require("NFT_MSG_NEWRULE", &nft::drop_port(Hook::Input, first.port())?, &Ok(()))?;
    // Of one processor, so that the datagrams arrive in the order in which they were sent.
    pin_to(0)?;
    let (sender, _) = udp(&far, host(253))?;
    for (target, text) in [(first, "first"), (second, "second")] {
        sender.send_to(text.as_bytes(), target).during("send(2) from the far end")?;
    }
    require("the datagram to the other port", &received(&open)?.as_slice(), &b"second".as_slice())?;
    let received = answer("recv(2)", filtered.recv(&mut [0; 64]))?;
    judge("recv(2) at the filtered port", &received, &refused(Errno::EAGAIN), &Ok(5))
}

pub(super) const ONE_KIND: Scenario =
    Scenario::new("net.one-kind", "A device that has a macvlan cannot get an ipvlan: EBUSY", one_kind)
        .shows(&["network-split"], "Documentation/networking/ipvlan.rst, ip-link(8)")
        .steps(&[
            "The subject makes a macvlan on a device.",
            "Making an ipvlan on the same device must fail with EBUSY. Without the macvlan it succeeds.",
        ])
        .by_means_of("a macvlan on the device")
        .needs(&["CONFIG_NET_NS", "CONFIG_IPVLAN", "CONFIG_MACVLAN", "CONFIG_VETH"], 3, 19, 0)
        .with_modules(&["ipvlan", "macvlan", "veth"])
        .probed_by(|| probe_kind("ipvlan"));

fn one_kind(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (_here, _far) = parent()?;
    if sandbox.applies() {
        macvlan("a", BRIDGED).add()?;
    }
    let added = ipvlan("b", L2).try_add()?;
    judge("RTM_NEWLINK of kind ipvlan", &added, &refused(Errno::EBUSY), &Ok(()))
}

pub(super) const VRF: Scenario = Scenario::new(
    "net.vrf",
    "An address in a VRF cannot be reached from outside the VRF: ENETUNREACH",
    vrf,
)
.shows(&["network-ip"], "Documentation/networking/vrf.rst")
.steps(&[
    "In a new network namespace: gives a device the address 192.0.2.1, and makes a VRF, a routing table with a device.",
    "The subject makes the device a member of the VRF. A socket that is bound to the VRF reaches the address.",
    "A socket that is not bound: connect(2) to the address must fail with ENETUNREACH.",
])
.by_means_of("a VRF")
.needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_NET_VRF", "CONFIG_DUMMY"], 4, 3, 0)
.with_modules(&["vrf", "dummy"])
.probed_by(|| probe(Device::new("vrf", &device_name('p')).first_setting(&TABLE.to_ne_bytes())));

/// The routing table of the VRF.
const TABLE: u32 = 100;

fn vrf(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    netns::leave()?;
    Device::new("vrf", "red").first_setting(&TABLE.to_ne_bytes()).add()?;
    link::set_up("red")?;
    Device::new("dummy", "member").add()?;
    link::configure("member", ADDRESS)?;
    if sandbox.applies() {
        link::set_master("member", "red")?;
        require("connect(2) of a socket in the VRF", &reach(ADDRESS, Some("red"))?, &Ok(()))?;
    }
    judge("connect(2) of a socket outside the VRF", &reach(ADDRESS, None)?, &refused(Errno::ENETUNREACH), &Ok(()))
}

/// Whether there is a route to the address: connect(2) of UDP sends nothing.
fn reach(address: Ipv4Addr, device: Option<&str>) -> Result<Answer, Trouble> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).during("bind(2) of a UDP socket")?;
    if let Some(device) = device {
        set_bytes(&socket, SOL_SOCKET, SO_BINDTODEVICE, device.as_bytes()).during("setsockopt(SO_BINDTODEVICE)")?;
    }
    answer("connect(2)", socket.connect((address, 9)))
}
