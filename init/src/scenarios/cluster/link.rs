//! The link to the other guest: addresses, and an exchange of lines.

use std::io::{BufReader, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vmlab_protocol::message::Side;

use super::super::support::{await_input, present, receive_line, send_line};
use super::super::{Probe, Trouble};
use crate::sandbox::{During, Sandbox, WAIT_LIMIT};
use crate::sys::network;

/// The only card of a guest.
pub(super) const DEVICE: &str = "eth0";
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

/// The pause between two attempts to reach a guest that does not listen yet.
const PAUSE: Duration = Duration::from_millis(20);

/// A link that is up.
pub(super) struct Link {
    side: Side,
    port: u16,
}

impl Link {
    /// Brings the card up with this side's addresses. Forks of one template begin with the same hardware address.
    pub(super) fn up(sandbox: &Sandbox) -> Result<Self, Trouble> {
        let side = sandbox.side()?;
        network::set_hardware_address(DEVICE, [0x52, 0x54, 0, 0x12, 0x35, last(side)])
            .during("SIOCSIFHWADDR of eth0")?;
        network::set_address(DEVICE, address(side), MASK).during("SIOCSIFADDR of eth0")?;
        // The legs of the two guests run at the same time, but not in step.
        let port = if sandbox.applies() { 7001 } else { 7002 };
        Ok(Self { side, port })
    }

    /// Sends a value to the other guest, and returns the value that the other guest sends.
    pub(super) fn exchange<T: Serialize + DeserializeOwned>(&self, own: &T) -> Result<T, Trouble> {
        let stream = self.meet()?;
        send_line(&mut &stream, own)?;
        receive_line(&mut BufReader::new(&stream))
    }

    /// A connection to the other guest, which must call this as well.
    pub(super) fn meet(&self) -> Result<TcpStream, Trouble> {
        let stream = match self.side {
            Side::First => self.accept()?,
            Side::Second => connect(SocketAddrV4::new(address(Side::First), self.port))?,
        };
        stream.set_read_timeout(Some(WAIT_LIMIT)).during("setsockopt(SO_RCVTIMEO)")?;
        Ok(stream)
    }

    pub(super) const fn side(&self) -> Side {
        self.side
    }

    fn accept(&self) -> Result<TcpStream, Trouble> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port)).during("bind(2) on the link")?;
        await_input("a connection of the other guest", &listener)?;
        listener.accept().map(|(stream, _)| stream).during("accept(2) on the link")
    }
}

/// Connects to the other guest, which may not be so far: it does not listen yet, or its card is not up.
pub(super) fn connect(to: SocketAddrV4) -> Result<TcpStream, Trouble> {
    let is_early =
        |kind| matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::TimedOut);
    let until = Instant::now() + WAIT_LIMIT;
    loop {
        match TcpStream::connect_timeout(&SocketAddr::V4(to), WAIT_LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(error) if is_early(error.kind()) && Instant::now() < until => sleep(PAUSE),
            Err(error) => return Err(error).during("connect(2) to the other guest"),
        }
    }
}

const fn last(side: Side) -> u8 {
    match side {
        Side::First => 1,
        Side::Second => 2,
    }
}

/// Whether the guest has a card for the link.
pub(super) fn probe() -> Result<Probe, Trouble> {
    present("/sys/class/net/eth0")
}

/// The address of a guest on the link.
pub(super) const fn address(side: Side) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last(side))
}
