//! Cables between network namespaces, and what passes over them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use super::link::{self, Device};
use super::netns::Netns;
use crate::sandbox::{Answer, During, Trouble, answer};
use crate::scenarios::support::await_input;

/// The network of most trials.
pub(super) const fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// One end of a cable: the namespace, the name of the device there, and its address.
pub(super) type End<'a> = (&'a Netns, &'a str, Option<Ipv4Addr>);

/// Connects two network namespaces by a pair of veth devices, and waits until both ends have a carrier.
pub(super) fn connect(first: End<'_>, second: End<'_>) -> Result<(), Trouble> {
    first.0.run(|| {
        Device::pair("veth", first.1, second.1).add()?;
        link::move_to(second.1, second.0.file())
    })?;
    for (netns, name, address) in [first, second] {
        netns.run(|| plug(name, address))?;
    }
    for (netns, name, _) in [first, second] {
        netns.run(|| link::await_carrier(name))?;
    }
    Ok(())
}

/// Gives a device an address, if any, and brings it up.
fn plug(name: &str, address: Option<Ipv4Addr>) -> Result<(), Trouble> {
    link::resolve_fast(name)?;
    match address {
        Some(address) => link::configure(name, address),
        None => link::set_up(name),
    }
}

/// Moves a device to a network namespace, and configures it there.
pub(super) fn give(name: &str, netns: &Netns, address: Ipv4Addr) -> Result<(), Trouble> {
    link::move_to(name, netns.file())?;
    netns.run(|| plug(name, Some(address)))
}

/// Whether a TCP connection from one namespace to another can be made.
pub(super) fn tcp(from: &Netns, to: &Netns, address: Ipv4Addr) -> Result<Answer, Trouble> {
    let listener = to.run(|| TcpListener::bind((address, 0)).during("bind(2) of a TCP socket"))?;
    let target = listener.local_addr().during("getsockname(2)")?;
    from.run(|| Ok(answer("connect(2)", TcpStream::connect(target))?.map(drop)))
}

pub(super) fn udp(netns: &Netns, address: Ipv4Addr) -> Result<(UdpSocket, SocketAddr), Trouble> {
    let socket = netns.run(|| UdpSocket::bind((address, 0)).during("bind(2) of a UDP socket"))?;
    let address = socket.local_addr().during("getsockname(2)")?;
    Ok((socket, address))
}

/// Waits for a datagram.
pub(super) fn received(socket: &UdpSocket) -> Result<Vec<u8>, Trouble> {
    await_input("a datagram", socket)?;
    let mut datagram = vec![0; 2048];
    let length = socket.recv(&mut datagram).during("recv(2) of a datagram")?;
    datagram.truncate(length);
    Ok(datagram)
}
