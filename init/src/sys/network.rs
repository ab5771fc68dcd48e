//! Configures a network device with ioctl(2) (netdevice(7), rtentry in include/uapi/linux/route.h).

use std::mem;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::Result;
use nix::errno::Errno;
use nix::libc::{self, c_short, ifreq, rtentry, sockaddr, sockaddr_in};

/// With the type of the field that it is for.
const AF_INET: libc::sa_family_t = 2;

/// Gives a device an address, brings it up, and routes everything else through a gateway that it reaches.
///
/// # Errors
/// As ioctl(2): `ENODEV` if there is no such device, `EPERM`; `EMFILE` and others of socket(2).
pub(crate) fn configure(device: &str, address: Ipv4Addr, mask: Ipv4Addr, gateway: Ipv4Addr) -> Result<()> {
    set_address(device, address, mask)?;
    // SAFETY: rtentry is plain data, for which zeros are valid.
    let mut route: rtentry = unsafe { mem::zeroed() };
    (route.rt_dst, route.rt_genmask) = (socket_address(Ipv4Addr::UNSPECIFIED), socket_address(Ipv4Addr::UNSPECIFIED));
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    let socket = socket()?;
    // SAFETY: the socket is open, and the call reads an rtentry, which is live.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &raw const route) }).map(drop)
}

/// Gives a device an address, and brings it up.
///
/// # Errors
/// As [`configure`].
pub(crate) fn set_address(device: &str, address: Ipv4Addr, mask: Ipv4Addr) -> Result<()> {
    let mut request = named(device)?;
    request.ifr_ifru.ifru_addr = socket_address(address);
    set(libc::SIOCSIFADDR, &request)?;
    request.ifr_ifru.ifru_netmask = socket_address(mask);
    set(libc::SIOCSIFNETMASK, &request)?;
    let flags = c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(|_| Errno::EOVERFLOW)?;
    request.ifr_ifru.ifru_flags = flags;
    set(libc::SIOCSIFFLAGS, &request)
}

/// Gives an Ethernet device a hardware address.
///
/// # Errors
/// As [`configure`]; `EBUSY` from a driver that cannot change the address of a device that is up.
pub(crate) fn set_hardware_address(device: &str, address: [u8; 6]) -> Result<()> {
    let mut request = named(device)?;
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(address) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_hwaddr = sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: data };
    set(libc::SIOCSIFHWADDR, &request)
}

fn set(call: libc::Ioctl, request: &ifreq) -> Result<()> {
    let socket = socket()?;
    // SAFETY: the socket is open, and these calls read an ifreq, which is live.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), call, std::ptr::from_ref(request)) }).map(drop)
}

/// Any socket of the address family does.
fn socket() -> Result<UdpSocket> {
    let bound = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    bound.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// A request for a device.
fn named(device: &str) -> Result<ifreq> {
    // SAFETY: ifreq is plain data, for which zeros are valid.
    let mut request: ifreq = unsafe { mem::zeroed() };
    // The last byte stays the NUL.
    if device.len() >= request.ifr_name.len() {
        return Err(Errno::ENODEV);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> sockaddr {
    let address = sockaddr_in {
        sin_family: AF_INET,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain data of 16 bytes that begin with the address family.
    unsafe { mem::transmute::<sockaddr_in, sockaddr>(address) }
}
