//! netkit: a pair of devices. A BPF program decides on their traffic; without a program, a policy does. Linux 6.7.

use nix::errno::Errno;
use nix::libc::{IP_RECVERR, IPPROTO_IP};

use super::link::{self, Device, device_name, probe};
use super::netns::Netns;
use super::wires::{host, received, udp};
use super::{Finding, Scenario, Trouble, judge, require};
use crate::sandbox::{During, Sandbox, answer, refused};
use crate::sys::socket::set_option;

/// `IFLA_NETKIT_POLICY`, `NETKIT_PASS` and `NETKIT_DROP` (include/uapi/linux/if_link.h).
const POLICY: u16 = 3;
const PASS: u32 = 0;
const DROP: u32 = 2;

pub(super) const NETKIT: Scenario = Scenario::new(
    "net.netkit",
    "A netkit device with the policy DROP lets nothing pass: send(2) fails with ENOBUFS",
    netkit,
)
.shows(&["later-netkit-vsock"], "include/uapi/linux/if_link.h, IFLA_NETKIT_POLICY; drivers/net/netkit.c")
.steps(&[
    "Connects two new network namespaces A and B by netkit. A's end has the policy DROP; the control's has PASS.",
    "From B: a datagram to A comes, because the policy is that of the sending end.",
    "From A: send(2) of a datagram to B, with IP_RECVERR, must fail with ENOBUFS. With PASS it succeeds.",
])
.by_means_of("NETKIT_DROP")
.needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_NETKIT"], 6, 7, 0)
.probed_by(|| {
    let (name, peer) = (device_name('p'), device_name('q'));
    probe(Device::pair("netkit", &name, &peer))
});

fn netkit(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (a, b) = (Netns::new()?, Netns::new()?);
    let policy = if sandbox.applies() { DROP } else { PASS };
    a.run(|| {
        Device::pair("netkit", "to-b", "to-a").setting(POLICY, &policy.to_ne_bytes()).add()?;
        link::move_to("to-a", b.file())?;
        link::configure("to-b", host(1))
    })?;
    b.run(|| link::configure("to-a", host(2)))?;
    a.run(|| link::await_carrier("to-b"))?;
    b.run(|| link::await_carrier("to-a"))?;
    let ((in_a, address_a), (in_b, address_b)) = (udp(&a, host(1))?, udp(&b, host(2))?);
    in_b.send_to(b"datagram", address_a).during("send(2) from B")?;
    require("the datagram in A", &received(&in_a)?.as_slice(), &b"datagram".as_slice())?;
    // Without this option, UDP keeps ENOBUFS to itself (net/ipv4/udp.c, `udp_send_skb`).
    set_option(&in_a, IPPROTO_IP, IP_RECVERR, 1).during("setsockopt(IP_RECVERR)")?;
    let sent = answer("send(2)", in_a.send_to(b"datagram", address_b))?.map(drop);
    judge("send(2) from A to B", &sent, &refused(Errno::ENOBUFS), &Ok(()))
}
