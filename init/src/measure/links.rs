//! Network devices for measuring, over rtnetlink(7). The devices have the numbers that the requests give, so no answer needs
//! to be read but its errno.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::libc;

use crate::sandbox::Code;
use crate::scenarios::netlink::{Attributes, Message, Netlink};
use crate::scenarios::note;

/// `VETH_INFO_PEER` of include/uapi/linux/veth.h, and `IFLA_NETKIT_PEER_INFO` of include/uapi/linux/if_link.h.
const PEER: u16 = 1;
/// `IFLA_MACVLAN_MODE` and `MACVLAN_MODE_BRIDGE` of include/uapi/linux/if_link.h.
const MACVLAN_MODE: (u16, u32) = (1, 4);
/// `IFLA_IPVLAN_MODE` of include/uapi/linux/if_link.h.
const IPVLAN_MODE: u16 = 1;

/// A new device: its number, its name, and the namespace that it is made in, if that is another.
pub(super) struct New<'a> {
    pub(super) index: u32,
    pub(super) name: &'a str,
    pub(super) namespace: Option<&'a File>,
}

/// A mode of ipvlan.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ipvlan {
    L2 = 0,
    L3 = 1,
}

/// Creates a bridge or a dummy device. Errors of all functions: as rtnetlink(7); `EOPNOTSUPP` from a kernel without the kind.
pub(super) fn add(kind: &str, new: &New<'_>) -> Result<(), Errno> {
    link(new, new.attributes(), kind, &Attributes::new())
}

/// Creates a pair of devices: `veth`, or `netkit` in its mode L3.
pub(super) fn add_pair(kind: &str, new: &New<'_>, peer: &New<'_>) -> Result<(), Errno> {
    let peer = [interface(peer.index, 0), peer.attributes().into_bytes()].concat();
    link(new, new.attributes(), kind, &Attributes::new().bytes(PEER, &peer))
}

/// Creates a macvlan device in bridge mode on the device `parent`.
pub(super) fn add_macvlan(new: &New<'_>, parent: u32) -> Result<(), Errno> {
    let (mode, bridge) = MACVLAN_MODE;
    let settings = Attributes::new().number(mode, bridge);
    link(new, new.attributes().number(libc::IFLA_LINK, parent), "macvlan", &settings)
}

/// Creates an ipvlan device on the device `parent`.
pub(super) fn add_ipvlan(new: &New<'_>, parent: u32, mode: Ipvlan) -> Result<(), Errno> {
    let settings = Attributes::new().bytes(IPVLAN_MODE, &(mode as u16).to_ne_bytes());
    link(new, new.attributes().number(libc::IFLA_LINK, parent), "ipvlan", &settings)
}

/// Brings a device up, and makes it a port of the bridge `master`.
pub(super) fn up(index: u32, master: Option<u32>) -> Result<(), Errno> {
    let up = libc::IFF_UP.cast_unsigned();
    let master = master.map(|master| Attributes::new().number(libc::IFLA_MASTER, master)).unwrap_or_default();
    request(&Message::new(libc::RTM_NEWLINK, &interface(index, up), &master), 0)
}

/// Gives a device an address in a network of 24 bits.
pub(super) fn add_address(index: u32, address: Ipv4Addr) -> Result<(), Errno> {
    // ifaddrmsg: family, length of the prefix, flags, scope, index.
    let fixed = [[2, 24, 0, 0], index.to_ne_bytes()].concat();
    let octets = address.octets();
    let attributes = Attributes::new().bytes(libc::IFA_LOCAL, &octets).bytes(libc::IFA_ADDRESS, &octets);
    request(&Message::new(libc::RTM_NEWADDR, &fixed, &attributes), libc::NLM_F_CREATE)
}

impl New<'_> {
    fn attributes(&self) -> Attributes {
        let attributes = Attributes::new().text(libc::IFLA_IFNAME, self.name);
        match self.namespace {
            Some(file) => attributes.bytes(libc::IFLA_NET_NS_FD, &file.as_raw_fd().to_ne_bytes()),
            None => attributes,
        }
    }
}

/// Creates a device of this kind with the kind's own settings.
fn link(new: &New<'_>, attributes: Attributes, kind: &str, settings: &Attributes) -> Result<(), Errno> {
    let info = Attributes::new().text(libc::IFLA_INFO_KIND, kind).nested(libc::IFLA_INFO_DATA, settings);
    let attributes = attributes.nested(libc::IFLA_LINKINFO, &info);
    let message = Message::new(libc::RTM_NEWLINK, &interface(new.index, 0), &attributes);
    request(&message, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
}

/// ifinfomsg: family, padding, type, index, flags, which of them change.
fn interface(index: u32, flags: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat()
}

/// Sends a request and reads the errno of the answer.
fn request(message: &Message, flags: i32) -> Result<(), Errno> {
    match Netlink::open(NETLINK_ROUTE).and_then(|mut netlink| netlink.change(message, flags)) {
        Ok(answer) => answer.map_err(Code::errno),
        Err(trouble) => {
            note(format_args!("rtnetlink: {trouble}"));
            Err(Errno::EIO)
        }
    }
}
