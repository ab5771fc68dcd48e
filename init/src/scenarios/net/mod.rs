//! Network namespaces, and other ways to divide the network.

mod bind;
mod direct;
mod limits;
pub(crate) mod link;
mod netkit;
pub(crate) mod netlink;
pub(crate) mod netns;
mod nft;
mod policy;
mod proc;
pub(super) mod repair;
mod routing;
mod sockets;
mod split;
mod tcp;
mod wires;

use super::support::{decide, judge, known, read, require, write};
use super::{Finding, Probe, Scenario, Trouble};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[
    &sockets::ABSTRACT_UNIX,
    &limits::ADDRESS,
    &bind::ADDRESS_HOOK,
    &routing::BRIDGE,
    &bind::BROKER,
    &bind::BROKER_DIES,
    &limits::BUFFER_LIMIT,
    &limits::CONNTRACK_LIMIT,
    &direct::DEAD_DUMMY,
    &proc::DEVICES,
    &routing::FORWARDING,
    &direct::IMMOVABLE,
    &split::IPVLAN_ADDRESS,
    &split::IPVLAN_L3,
    &split::IPVLAN_L3S,
    &bind::LANDLOCK_PORT,
    &routing::LINK_DOWN,
    &proc::LINK_EVENTS,
    &limits::LOOPBACK_DOWN,
    &split::MACVLAN_PARENT,
    &split::MACVLAN_PRIVATE,
    &direct::MOVE,
    &netkit::NETKIT,
    &sockets::NETLINK_PORT,
    &policy::NFTABLES,
    &split::ONE_KIND,
    &policy::PACKET_SOCKET,
    &sockets::PATHNAME_UNIX,
    &direct::PHYSICAL,
    &sockets::PORT,
    &policy::ROUTE,
    &limits::SOMAXCONN,
    &proc::SYSCTL,
    &proc::SYSFS,
    &tcp::BLOCK,
    &tcp::MOVE,
    &tcp::REPAIR_PRIVILEGE,
    &routing::VETH_VANISHES,
    &split::VRF,
    &sockets::VSOCK,
];
