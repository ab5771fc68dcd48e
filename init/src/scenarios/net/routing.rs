//! Network namespaces that are connected by cables and a bridge.

use std::net::Ipv4Addr;

use nix::errno::Errno;
use vmlab_protocol::catalogue::Namespace;

use super::link::{self, Device, device_name, probe, probe_kind};
use super::netns::{self, Netns, await_teardown};
use super::wires::{connect, host, tcp, udp};
use super::{Finding, Probe, Scenario, Trouble, decide, judge, read, require, write};
use crate::sandbox::{During, Sandbox, answer, refused};
use crate::scenarios::support::until;

pub(super) fn probe_veth() -> Result<Probe, Trouble> {
    let (name, peer) = (device_name('p'), device_name('q'));
    probe(Device::pair("veth", &name, &peer))
}

pub(super) fn probe_bridge() -> Result<Probe, Trouble> {
    probe_kind("bridge")?.and(probe_veth)
}

pub(super) const BRIDGE: Scenario = Scenario::new(
    "net.bridge",
    "Two network namespaces reach each other if their cables are ports of a bridge",
    bridge,
)
.shows(&["network-routing"], "veth(4), Documentation/networking/bridge.rst")
.steps(&[
    "Connects two new network namespaces A and B to a third one by veth, and makes a bridge there. A's cable is a port.",
    "The subject makes B's cable a port as well.",
    "From the bridge, which has an address: connect(2) to A succeeds.",
    "From A: connect(2) to B must succeed. Without the port it fails with EHOSTUNREACH.",
])
.by_means_of("a port of the bridge")
.needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_VETH", "CONFIG_BRIDGE"], 2, 6, 29)
.with_modules(&["veth", "bridge"])
.probed_by(probe_bridge);

fn bridge(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let (hub, a, b) = (Netns::current()?, Netns::new()?, Netns::new()?);
    Device::new("bridge", "bridge").add()?;
    link::configure("bridge", host(254))?;
    connect((&a, "wire", Some(host(1))), (&hub, "to-a", None))?;
    connect((&b, "wire", Some(host(2))), (&hub, "to-b", None))?;
    link::set_master("to-a", "bridge")?;
    if sandbox.applies() {
        link::set_master("to-b", "bridge")?;
    }
    require("connect(2) from the bridge to A", &tcp(&hub, &a, host(1))?, &Ok(()))?;
    judge("connect(2) from A to B", &tcp(&a, &b, host(2))?, &Ok(()), &refused(Errno::EHOSTUNREACH))
}

pub(super) const FORWARDING: Scenario = Scenario::new(
    "net.forwarding",
    "A network namespace forwards packets between two others if ip_forward is set there",
    forwarding,
)
.shows(&["network-routing"], "Documentation/networking/ip-sysctl.rst, section ip_forward")
.steps(&[
    "Connects two new network namespaces A and B to a third one, R, which is their gateway to each other.",
    "The subject sets net.ipv4.ip_forward in R.",
    "A datagram from A to B must come. Without ip_forward, R drops it, and counts it in InAddrErrors.",
])
.by_means_of("ip_forward")
.needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_VETH", "CONFIG_PROC_FS", "CONFIG_SYSCTL"], 2, 6, 29)
.with_modules(&["veth"])
.probed_by(probe_veth);

fn forwarding(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let address = |network, host| Ipv4Addr::new(10, 2, network, host);
    let (a, r, b) = (Netns::new()?, Netns::new()?, Netns::new()?);
    for (netns, name, number) in [(&a, "to-a", 1), (&b, "to-b", 2)] {
        connect((netns, "to-r", Some(address(number, 2))), (&r, name, Some(address(number, 1))))?;
        netns.run(|| link::add_gateway(address(3 - number, 0), 24, address(number, 1)))?;
    }
    if sandbox.applies() {
        r.run(|| write("/proc/sys/net/ipv4/ip_forward", "1"))?;
    }
    let ((sender, _), (receiver, target)) = (udp(&a, address(1, 2))?, udp(&b, address(2, 2))?);
    receiver.set_nonblocking(true).during("fcntl(O_NONBLOCK)")?;
    let dropped = || r.run(address_errors);
    let before = dropped()?;
    sender.send_to(b"datagram", target).during("send(2) from A")?;
    let mut received = refused(Errno::EAGAIN);
    until("the datagram, or the count of its loss", || {
        received = answer("recv(2)", receiver.recv(&mut [0; 64]))?;
        Ok(received.is_ok() || dropped()? > before)
    })?;
    judge("recv(2) in B of a datagram from A", &received, &Ok(8), &refused(Errno::EAGAIN))
}

/// `InAddrErrors` of the calling process's network namespace: datagrams for others that it did not forward.
fn address_errors() -> Result<u64, Trouble> {
    let text = read("/proc/self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, values) =
        lines.next().zip(lines.next()).ok_or_else(|| Trouble::new("/proc/net/snmp has no line Ip"))?;
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "InAddrErrors");
    found.ok_or_else(|| Trouble::new("/proc/net/snmp has no InAddrErrors"))?.1.parse().during("reading InAddrErrors")
}

pub(super) const LINK_DOWN: Scenario = Scenario::new(
    "net.link-down",
    "A device that is down carries nothing: connect(2) fails with ENETUNREACH",
    link_down,
)
.shows(&["network-routing"], "veth(4), netdevice(7)")
.steps(&[
    "Connects two new network namespaces A and B by veth. From A: connect(2) to B succeeds.",
    "The subject takes A's end of the cable down.",
    "From A: connect(2) to B must fail with ENETUNREACH.",
])
.by_means_of("a device without IFF_UP")
.needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_VETH"], 2, 6, 29)
.with_modules(&["veth"])
.probed_by(probe_veth);

fn link_down(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (a, b) = (Netns::new()?, Netns::new()?);
    connect((&a, "to-b", Some(host(1))), (&b, "to-a", Some(host(2))))?;
    require("connect(2) from A to B", &tcp(&a, &b, host(2))?, &Ok(()))?;
    if sandbox.applies() {
        a.run(|| link::set_down("to-b"))?;
    }
    judge("connect(2) from A to B again", &tcp(&a, &b, host(2))?, &refused(Errno::ENETUNREACH), &Ok(()))
}

pub(super) const VETH_VANISHES: Scenario = Scenario::new(
    "net.veth-vanishes",
    "The end of a cable outside vanishes when the network namespace of its other end dies",
    veth_vanishes,
)
.shows(&["network-routing"], "network_namespaces(7), veth(4)")
.steps(&[
    "Outside: creates a pair of veth devices, and moves one to the network namespace of a process inside.",
    "The process inside is killed, and the leg waits until the kernel has removed dead network namespaces.",
    "Outside: the other end of the pair must be gone.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_VETH"], 2, 6, 29)
.with_modules(&["veth"])
.probed_by(probe_veth);

fn veth_vanishes(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let inside = sandbox.hold(|| Ok(()))?;
    Device::pair("veth", "near", "far").add()?;
    link::move_to("far", Netns::of(inside.pid())?.file())?;
    require("whether the near end exists", &link::is_there("near")?, &true)?;
    drop(inside);
    await_teardown()?;
    let devices = link::names()?;
    let there = devices.iter().any(|name| name == "near");
    decide("devices outside afterwards", &devices, (!there, there), "a list with or without near")
}
