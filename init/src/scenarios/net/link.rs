//! Network devices, their addresses and routes, over rtnetlink(7), in the calling process's network namespace.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::libc::{
    AF_INET, IFA_ADDRESS, IFA_LOCAL, IFF_UP, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO,
    IFLA_MASTER, IFLA_NET_NS_FD, IFLA_OPERSTATE, NLM_F_CREATE, NLM_F_EXCL, RTA_DST, RTA_GATEWAY, RTA_OIF, RTM_DELADDR,
    RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, RTPROT_BOOT, c_int,
};
use nix::net::if_::if_nametoindex;
use nix::unistd::getpid;

use super::netlink::{Attributes, Message, Netlink};
use crate::sandbox::{Answer, Code, During, Probe, Trouble};
use crate::scenarios::support::{until, write};

/// Length of `struct ifinfomsg`, in bytes.
pub(super) const LINK_HEADER: usize = 16;
/// `VETH_INFO_PEER`, `IFLA_NETKIT_PEER_INFO`, `IFLA_MACVLAN_MODE`, `IFLA_IPVLAN_MODE` and `IFLA_VRF_TABLE`.
const FIRST_OF_KIND: u16 = 1;
/// `IF_OPER_UP` (include/uapi/linux/if.h).
const OPERATIONAL: u8 = 6;

/// A name of at most 15 bytes, the limit of `netdevice(7)`. `letter` tells apart the devices of a trial.
pub(crate) fn device_name(letter: char) -> String {
    format!("vm{}{letter}", getpid())
}

/// A device to create: its name, kind, and the kind's own settings.
#[derive(Debug)]
pub(crate) struct Device<'a> {
    name: &'a str,
    kind: &'a str,
    parent: Option<&'a str>,
    /// 0: the kernel chooses.
    index: u32,
    data: Attributes,
}

impl<'a> Device<'a> {
    pub(crate) const fn new(kind: &'a str, name: &'a str) -> Self {
        Self { name, kind, parent: None, index: 0, data: Attributes::new() }
    }

    /// A pair of devices, of the kind `veth` or `netkit`: what one sends, the other receives.
    ///
    /// Their indexes differ, also when they are in different namespaces. A device whose peer has its own index looks like a
    /// physical one, and its carrier is noticed up to a second later (net/core/link_watch.c, `linkwatch_urgent_event`).
    pub(crate) fn pair(kind: &'a str, name: &'a str, peer: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1000);
        let index = NEXT.fetch_add(2, Relaxed);
        let mut bytes = vec![0; LINK_HEADER];
        bytes.splice(4..8, (index + 1).to_ne_bytes());
        bytes.extend(Attributes::new().text(IFLA_IFNAME, peer).into_bytes());
        Self { index, data: Attributes::new().bytes(FIRST_OF_KIND, &bytes), ..Self::new(kind, name) }
    }

    /// A device on top of another.
    #[must_use]
    pub(crate) const fn on(mut self, parent: &'a str) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Sets the first attribute of the kind: the mode of a macvlan or ipvlan, the table of a VRF.
    #[must_use]
    pub(crate) fn first_setting(self, value: &[u8]) -> Self {
        self.setting(FIRST_OF_KIND, value)
    }

    /// Sets an attribute of the kind.
    #[must_use]
    pub(crate) fn setting(mut self, kind: u16, value: &[u8]) -> Self {
        self.data = self.data.bytes(kind, value);
        self
    }

    /// Creates the device. An errno is an answer, for example `EOPNOTSUPP` from a kernel without a driver for the kind.
    ///
    /// # Errors
    /// The kernel did not answer, or there is no such parent.
    pub(crate) fn try_add(self) -> Result<Answer, Trouble> {
        let info = Attributes::new().text(IFLA_INFO_KIND, self.kind).nested(IFLA_INFO_DATA, &self.data);
        let mut attributes = Attributes::new().text(IFLA_IFNAME, self.name).nested(IFLA_LINKINFO, &info);
        if let Some(parent) = self.parent {
            attributes = attributes.number(IFLA_LINK, index(parent)?);
        }
        change_link(RTM_NEWLINK, self.index, (0, 0), &attributes, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Creates the device.
    ///
    /// # Errors
    /// As [`Self::try_add`], and the kernel's errno.
    pub(crate) fn add(self) -> Result<(), Trouble> {
        let what = format!("RTM_NEWLINK of {} with kind {}", self.name, self.kind);
        done(self.try_add()?, &what)
    }
}

/// Tests whether the kernel can create devices of this kind.
pub(crate) fn probe(device: Device<'_>) -> Result<Probe, Trouble> {
    let what = format!("RTM_NEWLINK of kind {}", device.kind);
    let name = device.name.to_owned();
    match device.try_add()?.map_err(Code::errno) {
        Ok(()) => delete(&name).map(|()| Probe::Available),
        Err(Errno::EOPNOTSUPP) => Ok(Probe::Missing(format!("{what}: EOPNOTSUPP"))),
        Err(errno) => Err(errno).during(what),
    }
}

pub(crate) fn probe_kind(kind: &str) -> Result<Probe, Trouble> {
    probe(Device::new(kind, &device_name('p')))
}

/// Removes a device.
///
/// # Errors
/// The kernel's errno, for example `ENODEV`.
pub(crate) fn delete(name: &str) -> Result<(), Trouble> {
    done(change_link(RTM_DELLINK, 0, (0, 0), &Attributes::new().text(IFLA_IFNAME, name), 0)?, "RTM_DELLINK")
}

/// Moves a device to another network namespace. An errno is an answer.
pub(crate) fn try_move(name: &str, netns: impl AsFd) -> Result<Answer, Trouble> {
    let fd = netns.as_fd().as_raw_fd().cast_unsigned();
    change_link(RTM_NEWLINK, index(name)?, (0, 0), &Attributes::new().number(IFLA_NET_NS_FD, fd), 0)
}

pub(crate) fn move_to(name: &str, netns: impl AsFd) -> Result<(), Trouble> {
    done(try_move(name, netns)?, &format!("RTM_NEWLINK with IFLA_NET_NS_FD of {name}"))
}

/// Makes a device a port of a bridge or a VRF.
pub(crate) fn set_master(name: &str, master: &str) -> Result<(), Trouble> {
    let attributes = Attributes::new().number(IFLA_MASTER, index(master)?);
    done(change_link(RTM_NEWLINK, index(name)?, (0, 0), &attributes, 0)?, "RTM_NEWLINK with IFLA_MASTER")
}

pub(crate) fn set_up(name: &str) -> Result<(), Trouble> {
    set_flag(name, IFF_UP, true)
}

pub(crate) fn set_down(name: &str) -> Result<(), Trouble> {
    set_flag(name, IFF_UP, false)
}

fn set_flag(name: &str, flag: c_int, on: bool) -> Result<(), Trouble> {
    let flag = flag.cast_unsigned();
    let answer = change_link(RTM_NEWLINK, index(name)?, (if on { flag } else { 0 }, flag), &Attributes::new(), 0)?;
    done(answer, &format!("RTM_NEWLINK with flags of {name}"))
}

/// Waits until a device is up and its cable is plugged in at both ends: only then it sends what it is given.
pub(crate) fn await_carrier(name: &str) -> Result<(), Trouble> {
    until(&format!("the carrier of {name}"), || {
        let links = links()?;
        let link = links.iter().find(|link| link.text(LINK_HEADER, IFLA_IFNAME).as_deref() == Some(name));
        Ok(link.and_then(|link| link.attribute(LINK_HEADER, IFLA_OPERSTATE)) == Some(&[OPERATIONAL]))
    })
}

/// Lets address resolution on a device fail after three times 100 ms instead of 3 s.
pub(crate) fn resolve_fast(name: &str) -> Result<(), Trouble> {
    write(format!("/proc/sys/net/ipv4/neigh/{name}/retrans_time_ms"), "100")
}

/// Gives a device an address.
pub(crate) fn add_address(name: &str, address: Ipv4Addr, prefix: u8) -> Result<(), Trouble> {
    done(try_address(name, address, prefix)?, &format!("RTM_NEWADDR of {address} for {name}"))
}

/// Gives a device an address. An errno is an answer.
pub(crate) fn try_address(name: &str, address: Ipv4Addr, prefix: u8) -> Result<Answer, Trouble> {
    change_address(RTM_NEWADDR, name, address, prefix, NLM_F_CREATE | NLM_F_EXCL)
}

fn change_address(kind: u16, name: &str, address: Ipv4Addr, prefix: u8, request: c_int) -> Result<Answer, Trouble> {
    // struct ifaddrmsg: family, prefix, flags, scope, index.
    let fixed = [[family(), prefix, 0, 0], index(name)?.to_ne_bytes()].concat();
    let attributes = Attributes::new().bytes(IFA_LOCAL, &address.octets()).bytes(IFA_ADDRESS, &address.octets());
    Netlink::open(NETLINK_ROUTE)?.change(&Message::new(kind, &fixed, &attributes), request)
}

/// Takes an address from a device.
pub(crate) fn delete_address(name: &str, address: Ipv4Addr, prefix: u8) -> Result<(), Trouble> {
    done(change_address(RTM_DELADDR, name, address, prefix, 0)?, &format!("RTM_DELADDR of {address} for {name}"))
}

/// Gives a device an address with a prefix of 24 bits, and brings it up.
pub(crate) fn configure(name: &str, address: Ipv4Addr) -> Result<(), Trouble> {
    add_address(name, address, 24)?;
    set_up(name)
}

/// Routes a network through a device, without a gateway.
pub(crate) fn add_route(network: Ipv4Addr, prefix: u8, name: &str) -> Result<(), Trouble> {
    const LINK_SCOPE: u8 = 253;
    change_route(network, prefix, LINK_SCOPE, Attributes::new().number(RTA_OIF, index(name)?))
}

/// Routes a network through a gateway.
pub(crate) fn add_gateway(network: Ipv4Addr, prefix: u8, gateway: Ipv4Addr) -> Result<(), Trouble> {
    const UNIVERSE_SCOPE: u8 = 0;
    change_route(network, prefix, UNIVERSE_SCOPE, Attributes::new().bytes(RTA_GATEWAY, &gateway.octets()))
}

fn change_route(network: Ipv4Addr, prefix: u8, scope: u8, way: Attributes) -> Result<(), Trouble> {
    // struct rtmsg: family, prefixes, TOS, table, protocol, scope, type, flags (rtnetlink(7)).
    const MAIN: u8 = 254;
    const UNICAST: u8 = 1;
    let fixed = [family(), prefix, 0, 0, MAIN, RTPROT_BOOT, scope, UNICAST, 0, 0, 0, 0];
    let message = Message::new(RTM_NEWROUTE, &fixed, &way.bytes(RTA_DST, &network.octets()));
    let answer = Netlink::open(NETLINK_ROUTE)?.change(&message, NLM_F_CREATE | NLM_F_EXCL)?;
    done(answer, &format!("RTM_NEWROUTE of {network}"))
}

/// The names of the devices.
///
/// # Errors
/// The kernel's errno, or an unreadable answer.
pub(crate) fn names() -> Result<Vec<String>, Trouble> {
    Ok(links()?.iter().filter_map(|link| link.text(LINK_HEADER, IFLA_IFNAME)).collect())
}

pub(crate) fn is_there(name: &str) -> Result<bool, Trouble> {
    Ok(names()?.iter().any(|other| other == name))
}

fn links() -> Result<Vec<Message>, Trouble> {
    Netlink::open(NETLINK_ROUTE)?.dump(&Message::new(RTM_GETLINK, &[0; LINK_HEADER], &Attributes::new()))
}

fn change_link(
    kind: u16,
    index: u32,
    (flags, mask): (u32, u32),
    attributes: &Attributes,
    request: c_int,
) -> Result<Answer, Trouble> {
    // struct ifinfomsg: family, padding, device type; then index, flags, and the mask of flags to change.
    let fixed = [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), mask.to_ne_bytes()].concat();
    Netlink::open(NETLINK_ROUTE)?.change(&Message::new(kind, &fixed, attributes), request)
}

fn family() -> u8 {
    u8::try_from(AF_INET).unwrap_or_default()
}

fn index(name: &str) -> Result<u32, Trouble> {
    if_nametoindex(name).during(format_args!("if_nametoindex({name})"))
}

fn done(answer: Answer, what: &str) -> Result<(), Trouble> {
    answer.map_err(Code::errno).during(what)
}
