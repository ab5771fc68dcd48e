//! A TCP connection taken out of the kernel and put back, by socket repair (`TCP_REPAIR`; include/uapi/linux/tcp.h).

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc::{
    IPPROTO_TCP, TCP_INFO, TCP_MAXSEG, TCP_QUEUE_SEQ, TCP_REPAIR, TCP_REPAIR_OPTIONS, TCP_REPAIR_QUEUE,
    TCP_REPAIR_WINDOW, TCP_TIMESTAMP, c_int,
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, bind, connect, recv, send, socket};

use serde::{Deserialize, Serialize};

use super::Trouble;
use crate::sandbox::During;
use crate::scenarios::support::until;
use crate::sys::socket::{option, option_bytes, set_bytes, set_option};

/// Queues of `TCP_REPAIR_QUEUE`.
const NO_QUEUE: u32 = 0;
const RECEIVE: u32 = 1;
const SEND: u32 = 2;
/// Flags of `struct tcp_info`, and the codes of TCP's options (include/net/tcp.h).
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const SCALING: u8 = 4;
const OPTION_MSS: u32 = 2;
const OPTION_WINDOW: u32 = 3;
const OPTION_SACK: u32 = 4;
const OPTION_TIMESTAMP: u32 = 8;

/// The state of a connection whose sent data are acknowledged.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::scenarios) struct Connection {
    local: SocketAddr,
    peer: SocketAddr,
    /// The sequence numbers behind the last byte sent and the last byte received.
    sent: u32,
    received: u32,
    pub(in crate::scenarios) unread: Vec<u8>,
    segment: u32,
    options: u8,
    /// The shifts of both windows: what the peer announces in the lower half, the own one in the upper half.
    scales: u32,
    timestamp: u32,
    /// `struct tcp_repair_window`.
    window: [u8; 20],
}

/// Takes the connection out of the kernel, which forgets it without a word to the peer.
pub(in crate::scenarios) fn take(socket: TcpStream) -> Result<Connection, Trouble> {
    until("the acknowledgement of sent data", || Ok(information(&socket)?.unacknowledged == 0))?;
    set(&socket, TCP_REPAIR, 1)?;
    set(&socket, TCP_REPAIR_QUEUE, RECEIVE)?;
    let received = get(&socket, TCP_QUEUE_SEQ)?;
    let mut unread = vec![0; 4096];
    let peeked = recv(socket.as_raw_fd(), &mut unread, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    unread.truncate(match peeked {
        Err(Errno::EAGAIN) => 0,
        length => length.during("recv(2) of the receive queue")?,
    });
    set(&socket, TCP_REPAIR_QUEUE, SEND)?;
    let sent = get(&socket, TCP_QUEUE_SEQ)?;
    let mut window = [0; 20];
    option_bytes(&socket, IPPROTO_TCP, TCP_REPAIR_WINDOW, &mut window).during("getsockopt(TCP_REPAIR_WINDOW)")?;
    let Information { options, scales, .. } = information(&socket)?;
    let connection = Connection {
        local: socket.local_addr().during("getsockname(2)")?,
        peer: socket.peer_addr().during("getpeername(2)")?,
        sent,
        received,
        unread,
        segment: get(&socket, TCP_MAXSEG)?,
        options,
        scales,
        timestamp: get(&socket, TCP_TIMESTAMP)?,
        window,
    };
    // Closing a socket under repair sends nothing.
    drop(socket);
    Ok(connection)
}

impl Connection {
    /// Puts the connection into the kernel, in the calling process's network namespace, which must have its address.
    pub(in crate::scenarios) fn restore(&self) -> Result<TcpStream, Trouble> {
        let unread = u32::try_from(self.unread.len()).during("the length of the receive queue")?;
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).during("socket(2)")?;
        set(&socket, TCP_REPAIR, 1)?;
        bind(socket.as_raw_fd(), &address(self.local)?).during("bind(2) under repair")?;
        for (queue, sequence) in [(RECEIVE, self.received.wrapping_sub(unread)), (SEND, self.sent)] {
            set(&socket, TCP_REPAIR_QUEUE, queue)?;
            set(&socket, TCP_QUEUE_SEQ, sequence)?;
        }
        // Under repair, connect(2) sends nothing, and the socket is connected.
        connect(socket.as_raw_fd(), &address(self.peer)?).during("connect(2) under repair")?;
        set_bytes(&socket, IPPROTO_TCP, TCP_REPAIR_OPTIONS, &self.agreed()).during("setsockopt(TCP_REPAIR_OPTIONS)")?;
        if self.options & TIMESTAMPS != 0 {
            set(&socket, TCP_TIMESTAMP, self.timestamp)?;
        }
        self.fill_queue(&socket)?;
        set(&socket, TCP_REPAIR_QUEUE, NO_QUEUE)?;
        set_bytes(&socket, IPPROTO_TCP, TCP_REPAIR_WINDOW, &self.window).during("setsockopt(TCP_REPAIR_WINDOW)")?;
        set(&socket, TCP_REPAIR, 0)?;
        Ok(TcpStream::from(socket))
    }

    /// The options that both ends agreed on: pairs of code and value.
    fn agreed(&self) -> Vec<u8> {
        let mut options = vec![(OPTION_MSS, self.segment)];
        for (flag, code, value) in
            [(SCALING, OPTION_WINDOW, self.scales), (SACK, OPTION_SACK, 0), (TIMESTAMPS, OPTION_TIMESTAMP, 0)]
        {
            if self.options & flag != 0 {
                options.push((code, value));
            }
        }
        options.iter().flat_map(|(code, value)| [code.to_ne_bytes(), value.to_ne_bytes()]).flatten().collect()
    }

    /// Puts the unread bytes back.
    fn fill_queue(&self, socket: &OwnedFd) -> Result<(), Trouble> {
        if self.unread.is_empty() {
            return Ok(());
        }
        set(socket, TCP_REPAIR_QUEUE, RECEIVE)?;
        let length =
            send(socket.as_raw_fd(), &self.unread, MsgFlags::empty()).during("send(2) to the receive queue")?;
        if length == self.unread.len() { Ok(()) } else { Err(Trouble::new("the receive queue took only a part")) }
    }
}

/// Parts of `struct tcp_info`.
struct Information {
    options: u8,
    scales: u32,
    unacknowledged: u32,
}

fn information(socket: &TcpStream) -> Result<Information, Trouble> {
    let mut bytes = [0; 104];
    let length = option_bytes(socket, IPPROTO_TCP, TCP_INFO, &mut bytes).during("getsockopt(TCP_INFO)")?;
    // tcpi_options, the shifts of four bits each, and tcpi_unacked.
    let (options, scales) = (bytes[5], bytes[6]);
    let unacknowledged = bytes.get(24..).and_then(<[u8]>::first_chunk).map(|four| u32::from_ne_bytes(*four));
    match unacknowledged.filter(|_| length >= 28) {
        Some(unacknowledged) => {
            Ok(Information { options, scales: u32::from(scales & 15) | u32::from(scales >> 4) << 16, unacknowledged })
        }
        None => Err(Trouble::new("a short struct tcp_info")),
    }
}

fn address(address: SocketAddr) -> Result<SockaddrIn, Trouble> {
    match address {
        SocketAddr::V4(address) => Ok(SockaddrIn::from(address)),
        SocketAddr::V6(_) => Err(Trouble::new("an IPv6 connection")),
    }
}

fn set(socket: impl std::os::fd::AsFd, name: c_int, value: u32) -> Result<(), Trouble> {
    set_option(socket, IPPROTO_TCP, name, value).during(format_args!("setsockopt(IPPROTO_TCP, {name}, {value})"))
}

fn get(socket: &TcpStream, name: c_int) -> Result<u32, Trouble> {
    option(socket, IPPROTO_TCP, name).during(format_args!("getsockopt(IPPROTO_TCP, {name})"))
}
