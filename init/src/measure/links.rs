//! Network devices for measuring, over rtnetlink(7). The devices have the numbers that the requests give, so no answer needs
//! to be read but its errno.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use nix::poll::PollFlags;

use crate::sandbox::{During, WAIT_LIMIT, readable};
use crate::scenarios::Trouble;

/// `VETH_INFO_PEER` of include/uapi/linux/veth.h.
const VETH_INFO_PEER: u16 = 1;
/// `IFLA_MACVLAN_MODE` and `MACVLAN_MODE_BRIDGE` of include/uapi/linux/if_link.h.
const MACVLAN_MODE: (u16, u32) = (1, 4);
/// `IFLA_IPVLAN_MODE` of include/uapi/linux/if_link.h.
const IPVLAN_MODE: u16 = 1;
/// The header of a message, in bytes.
const HEADER_BYTES: usize = 16;

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
    link(&new.message(), &[info(kind, &[])])
}

pub(super) fn add_veth(new: &New<'_>, peer: &New<'_>) -> Result<(), Errno> {
    let peer = attribute(VETH_INFO_PEER, &[&peer.message()[..]]);
    link(&new.message(), &[info("veth", &peer)])
}

/// Creates a macvlan device in bridge mode on the device `parent`.
pub(super) fn add_macvlan(new: &New<'_>, parent: u32) -> Result<(), Errno> {
    let (mode, bridge) = MACVLAN_MODE;
    let mode = attribute(mode, &[&bridge.to_ne_bytes()]);
    link(&new.message(), &[attribute(libc::IFLA_LINK, &[&parent.to_ne_bytes()]), info("macvlan", &mode)])
}

/// Creates an ipvlan device on the device `parent`.
pub(super) fn add_ipvlan(new: &New<'_>, parent: u32, mode: Ipvlan) -> Result<(), Errno> {
    let mode = attribute(IPVLAN_MODE, &[&(mode as u16).to_ne_bytes()]);
    link(&new.message(), &[attribute(libc::IFLA_LINK, &[&parent.to_ne_bytes()]), info("ipvlan", &mode)])
}

/// Brings a device up, and makes it a port of the bridge `master`.
pub(super) fn up(index: u32, master: Option<u32>) -> Result<(), Errno> {
    let up = libc::IFF_UP.cast_unsigned();
    let master = master.map(|master| attribute(libc::IFLA_MASTER, &[&master.to_ne_bytes()])).unwrap_or_default();
    request(libc::RTM_NEWLINK, 0, &[interface(index, up).as_slice(), &master].concat())
}

/// Gives a device an address in a network of 24 bits.
pub(super) fn add_address(index: u32, address: Ipv4Addr) -> Result<(), Errno> {
    // ifaddrmsg: family, length of the prefix, flags, scope, index.
    let mut message = vec![2, 24, 0, 0];
    message.extend(index.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        message.extend(attribute(kind, &[&address.octets()]));
    }
    request(libc::RTM_NEWADDR, libc::NLM_F_CREATE, &message)
}

impl New<'_> {
    fn message(&self) -> Vec<u8> {
        let mut message = interface(self.index, 0);
        message.extend(attribute(libc::IFLA_IFNAME, &[self.name.as_bytes(), &[0]]));
        if let Some(file) = self.namespace {
            message.extend(attribute(libc::IFLA_NET_NS_FD, &[&file.as_raw_fd().to_ne_bytes()]));
        }
        message
    }
}

fn link(message: &[u8], attributes: &[Vec<u8>]) -> Result<(), Errno> {
    request(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &[message, &attributes.concat()].concat())
}

/// `IFLA_LINKINFO`, with the kind and its own attributes.
fn info(kind: &str, data: &[u8]) -> Vec<u8> {
    let kind = attribute(libc::IFLA_INFO_KIND, &[kind.as_bytes(), &[0]]);
    attribute(libc::IFLA_LINKINFO, &[&kind, &attribute(libc::IFLA_INFO_DATA, &[data])])
}

/// ifinfomsg: family, padding, type, index, flags, which of them change.
fn interface(index: u32, flags: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat()
}

/// An attribute, padded to four bytes.
fn attribute(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends a request and reads the errno of the answer.
fn request(kind: u16, flags: i32, body: &[u8]) -> Result<(), Errno> {
    let flags = u16::try_from(flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK).map_err(|_| Errno::EINVAL)?;
    let length = u32::try_from(HEADER_BYTES + body.len()).map_err(|_| Errno::EMSGSIZE)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(body);
    let answer = exchange(&message).map_err(|error| {
        crate::scenarios::note(format_args!("rtnetlink: {error}"));
        Errno::EIO
    })?;
    // nlmsgerr: the errno, negative, then the request's header.
    let errno = answer.get(HEADER_BYTES..HEADER_BYTES + 4).and_then(|bytes| bytes.try_into().ok());
    match errno.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw(errno.saturating_neg())),
        None => Err(Errno::EIO),
    }
}

fn exchange(message: &[u8]) -> Result<Vec<u8>, Trouble> {
    let mut socket = Socket::new(NETLINK_ROUTE).during("socket(AF_NETLINK)")?;
    socket.bind_auto().during("bind(2) of a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).during("connect(2) of a netlink socket")?;
    socket.send(message, 0).during("send(2) to rtnetlink")?;
    if !readable(&socket, PollFlags::POLLIN, WAIT_LIMIT)? {
        return Err(Trouble::new("no answer from rtnetlink"));
    }
    socket.recv_from_full().map(|(answer, _)| answer).during("recv(2) from rtnetlink")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_their_length_and_are_padded() {
        assert_eq!(attribute(3, &[b"lo", &[0]]), [7, 0, 3, 0, b'l', b'o', 0, 0]);
        assert_eq!(attribute(1, &[]), [4, 0, 1, 0]);
    }
}
