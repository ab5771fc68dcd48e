//! A process with a live TCP connection moves to another machine.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd as _;

use nix::errno::Errno;
use vmlab_protocol::catalogue::Namespace;
use vmlab_protocol::message::Side;

use super::super::checkpoint::image::{Counting, Image};
use super::super::checkpoint::probe_set_tid;
use super::super::net::link::{add_address, delete_address, set_up};
use super::super::net::repair::{self, Connection};
use super::super::support::{await_input, judge, note, receive_line, require, send_line};
use super::super::{Finding, Scenario, Trouble};
use super::link::{self, DEVICE, Link, connect};
use crate::sandbox::{Answer, During, Sandbox, WAIT_LIMIT, answer, refused};

/// Where the process begins to count: further than any other process comes.
const FAR: u64 = 1 << 40;
/// The PID that the process has on both machines.
const PID: i32 = 4321;
/// The network of the connection that moves. The address of the client moves with it.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
const UNREAD: &[u8] = b"unread";

pub(super) const MIGRATION: Scenario = Scenario::new(
    "cluster.migration",
    "A process moves to another machine with its PID, its memory and its live TCP connection",
    migration,
)
.shows(
    &["7b", "7a", "socket-checkpoint"],
    "include/uapi/linux/tcp.h, TCP_REPAIR; clone(2), section The set_tid array; https://criu.org/TCP_connection",
)
.steps(&[
    "First guest, inside: a process with PID 4321 counts from 2^40 on. It has a TCP connection to a server in the second guest, \
     with six unread bytes.",
    "First guest: stop the process, save its memory and registers, and take its connection out of the kernel by TCP_REPAIR. \
     Kill the process, remove the client's address, and send all that to the second guest.",
    "Second guest, inside: add the client's address, restore the connection, read the six bytes, and create a process with PID \
     4321 that counts on from the saved count and has the connection.",
    "The process writes its count to the connection. The server, whose connection is the old one, must receive it.",
    "The control closes the connection without TCP_REPAIR: the server's read(2) fails with ECONNRESET.",
])
.inside(&[Namespace::Mount, Namespace::Pid])
.control_inside(&[Namespace::Mount, Namespace::Pid])
.by_means_of("TCP_REPAIR")
.in_two_guests()
.with_modules(&["virtio_net"])
.needs(&["CONFIG_PID_NS", "CONFIG_INET", "CONFIG_PROC_FS", "CONFIG_VIRTIO_NET"], 5, 5, 0)
.probed_by(|| link::probe()?.and(probe_set_tid));

fn migration(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let link = Link::up(sandbox)?;
    let received = match link.side() {
        Side::First => depart(sandbox, &link)?,
        Side::Second => arrive(sandbox, &link)?,
    };
    judge("whether the server received a count that goes on", &received, &Ok(true), &refused(Errno::ECONNRESET))
}

/// The first guest: the process is saved. Returns what the server received.
fn depart(sandbox: &Sandbox, link: &Link) -> Result<Answer<bool>, Trouble> {
    add_address(DEVICE, CLIENT, 24)?;
    // Each leg has a server of its own.
    let port = link.exchange(&0_u16)?;
    let client = connect(SocketAddrV4::new(SERVER, port))?;
    let repairs = sandbox.applies();
    sandbox.run(|| {
        let process = Counting::start_with(FAR, &[PID], Some(client.as_fd()))?.during("clone3(set_tid)")?;
        await_input("the unread bytes", &client)?;
        let image = process.dump()?;
        let connection = if repairs { Some(repair::take(client.try_clone().during("dup(2)")?)?) } else { None };
        if repairs {
            delete_address(DEVICE, CLIENT, 24)?;
        }
        let mut stream = link.meet()?;
        send_line(&mut stream, &connection)?;
        image.send(&mut stream)
    })?;
    // The last copy of the socket. A connection under repair ends without a word to the server; another one with a reset,
    // because of the unread bytes.
    drop(client);
    let received = link.exchange(&Ok(false));
    if !repairs {
        delete_address(DEVICE, CLIENT, 24)?;
    }
    received
}

/// The second guest: the server, and the process that is restored beside it. Returns what the server received.
fn arrive(sandbox: &Sandbox, link: &Link) -> Result<Answer<bool>, Trouble> {
    add_address(DEVICE, SERVER, 24)?;
    let listener = TcpListener::bind((SERVER, 0)).during("bind(2) of the server")?;
    link.exchange(&listener.local_addr().during("getsockname(2)")?.port())?;
    await_input("the connection of the client", &listener)?;
    let (server, _) = listener.accept().during("accept(2) of the server")?;
    (&server).write_all(UNREAD).during("write(2) of the server")?;
    let mut reader = BufReader::new(link.meet()?);
    let connection: Option<Connection> = receive_line(&mut reader)?;
    let image = Image::receive(&mut reader)?;
    if connection.is_some() {
        add_address(DEVICE, CLIENT, 24)?;
        // From now on both ends have addresses of this machine, so that the packets go over the loopback device.
        set_up("lo")?;
    }
    let received = restore(sandbox, connection.as_ref(), &image, &server);
    if connection.is_some() {
        delete_address(DEVICE, CLIENT, 24)?;
    }
    delete_address(DEVICE, SERVER, 24)?;
    let received = received?;
    link.exchange(&received).map(drop)?;
    Ok(received)
}

/// Restores the process, and returns whether the server received a count beyond the saved one.
fn restore(
    sandbox: &Sandbox,
    connection: Option<&Connection>,
    image: &Image,
    mut server: &TcpStream,
) -> Result<Answer<bool>, Trouble> {
    server.set_read_timeout(Some(WAIT_LIMIT)).during("setsockopt(SO_RCVTIMEO)")?;
    let client = connection.map(Connection::restore).transpose()?;
    if let Some(mut client) = client.as_ref() {
        let mut unread = [0; UNREAD.len()];
        client.read_exact(&mut unread).during("read(2) of the unread bytes")?;
        require("the unread bytes after the move", &unread.as_slice(), &UNREAD)?;
    }
    sandbox.run(|| {
        let socket = client.as_ref().map(|client| client.as_fd());
        let process = Counting::start_with(0, &[PID], socket)?.during("clone3(set_tid)")?;
        require("the PID of the process after the move", &process.pid(), &PID)?;
        process.restore(image)?;
        let now = process.wait_beyond(image.count)?;
        note(format_args!("the count goes on after the move: {} to {now}", image.count));
        process.ask()?;
        let mut count = [0; 8];
        let read = answer("read(2) of the server", server.read_exact(&mut count))?;
        Ok(read.map(|()| u64::from_ne_bytes(count) > image.count))
    })
}
