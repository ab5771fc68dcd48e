//! A live TCP connection that moves to another network namespace.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use nix::errno::Errno;
use nix::libc::{IPPROTO_TCP, TCP_REPAIR};
use nix::poll::PollFlags;
use vmlab_protocol::catalogue::Namespace;

use super::link::{self, Device};
use super::netns::{self, Netns};
use super::wires::{connect, host};
use super::{Finding, Probe, Scenario, Trouble, judge, repair, require, routing};
use crate::sandbox::{Answer, Code, During, Sandbox, WAIT_LIMIT, answer, readable, refused};
use crate::sys::socket::set_option;

/// A peer in A, connected to a client in B; all over a bridge in the namespace of the leg.
struct Lab {
    hub: Netns,
    _a: Netns,
    b: Netns,
    peer: TcpStream,
    client: TcpStream,
}

impl Lab {
    fn new() -> Result<Self, Trouble> {
        netns::leave()?;
        let (hub, a, b) = (Netns::current()?, Netns::new()?, Netns::new()?);
        Device::new("bridge", "bridge").add()?;
        link::set_up("bridge")?;
        plug(&hub, &a, "to-a", 1)?;
        plug(&hub, &b, "to-b", 2)?;
        let listener = a.run(|| TcpListener::bind((host(1), 0)).during("bind(2) in A"))?;
        let address = listener.local_addr().during("getsockname(2)")?;
        let client = b.run(|| TcpStream::connect(address).during("connect(2) in B"))?;
        let (peer, _) = listener.accept().during("accept(2) in A")?;
        Ok(Self { hub, _a: a, b, peer, client })
    }

    /// A third network namespace with the address of the second, which is cut off.
    fn third(&self) -> Result<Netns, Trouble> {
        link::set_down("to-b")?;
        self.b.run(|| link::set_down("wire"))?;
        let c = Netns::new()?;
        plug(&self.hub, &c, "to-c", 2)?;
        Ok(c)
    }
}

/// Connects a network namespace to the bridge.
fn plug(hub: &Netns, netns: &Netns, name: &str, number: u8) -> Result<(), Trouble> {
    connect((netns, "wire", Some(host(number))), (hub, name, None))?;
    link::set_master(name, "bridge")
}

/// Sends a text; the errno is an answer.
fn say(mut socket: &TcpStream, text: &str) -> Result<(), Trouble> {
    socket.write_all(text.as_bytes()).during(format_args!("write(2) of {text:?}"))
}

/// Waits for a text of this length, or an errno.
fn hear(mut socket: &TcpStream, length: usize) -> Result<Answer<String>, Trouble> {
    socket.set_read_timeout(Some(WAIT_LIMIT)).during("setsockopt(SO_RCVTIMEO)")?;
    let mut text = vec![0; length];
    let read = answer("read(2)", socket.read_exact(&mut text))?;
    Ok(read.map(|()| String::from_utf8_lossy(&text).into_owned()))
}

fn text(text: &str) -> Answer<String> {
    Ok(text.to_owned())
}

pub(super) const MOVE: Scenario = Scenario::new(
    "net.tcp-move",
    "A TCP connection with unread bytes moves to another network namespace unnoticed",
    move_connection,
)
.shows(&["socket-checkpoint", "7a"], "include/uapi/linux/tcp.h, TCP_REPAIR; https://criu.org/TCP_connection")
.steps(&[
    "Connects three network namespaces by a bridge. A client in B connects to a peer in A, which sends six bytes.",
    "The subject puts the client's socket under TCP_REPAIR, reads its state with the six unread bytes, and closes it.",
    "B is cut off. C gets B's address, and the connection with its unread bytes is restored there.",
    "C reads the six bytes, and sends \"world\", which the peer must receive. The peer's reply reaches C.",
    "The control closes the client's socket without TCP_REPAIR: the peer's read(2) fails with ECONNRESET.",
])
.by_means_of("TCP_REPAIR")
.needs(NEEDS, 4, 8, 0)
.with_modules(&["veth", "bridge"])
.probed_by(probe);

const NEEDS: &[&str] = &["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_VETH", "CONFIG_BRIDGE"];

fn probe() -> Result<Probe, Trouble> {
    routing::probe_bridge()?
        .and(|| super::known("setsockopt(TCP_REPAIR)", try_repair()?.map_err(Code::errno), &[Errno::ENOPROTOOPT], &[]))
}

fn try_repair() -> Result<Answer, Trouble> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).during("socket(2)")?;
    Ok(set_option(&socket, IPPROTO_TCP, TCP_REPAIR, 1).map_err(Code::from))
}

fn move_connection(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let lab = Lab::new()?;
    say(&lab.peer, "unread")?;
    let arrived = readable(&lab.client, PollFlags::POLLIN, WAIT_LIMIT)?;
    require("whether the six bytes arrived", &arrived, &true)?;
    if !sandbox.applies() {
        drop(lab.client);
        return judged(&hear(&lab.peer, 5)?);
    }
    let c = lab.third()?;
    let connection = repair::take(lab.client)?;
    require("unread bytes", &connection.unread.as_slice(), &b"unread".as_slice())?;
    let client = c.run(|| connection.restore())?;
    require("read(2) in C", &hear(&client, 6)?, &text("unread"))?;
    say(&client, "world")?;
    let seen = hear(&lab.peer, 5)?;
    say(&lab.peer, "reply")?;
    require("read(2) of the peer's reply in C", &hear(&client, 5)?, &text("reply"))?;
    judged(&seen)
}

fn judged(seen: &Answer<String>) -> Result<Finding, Trouble> {
    judge("read(2) of the peer in A", seen, &text("world"), &refused(Errno::ECONNRESET))
}

pub(super) const BLOCK: Scenario = Scenario::new(
    "net.tcp-block",
    "A TCP connection survives being taken away if the network is blocked meanwhile",
    block,
)
.shows(&["block-network", "7a"], "include/uapi/linux/tcp.h, TCP_REPAIR; https://criu.org/TCP_connection")
.steps(&[
    "Connects three network namespaces by a bridge. A client in B connects to a peer in A.",
    "The subject cuts B off. Both legs take the client's connection out of the kernel by TCP_REPAIR.",
    "The peer sends three bytes while no socket is there to receive them.",
    "The subject restores the connection in C, where the bytes come, because the peer sends them again.",
    "C sends \"world\", which the peer must receive.",
    "In the control, B's kernel answers the three bytes with a reset: the peer's read(2) fails with ECONNRESET.",
])
.by_means_of("a network that is blocked")
.needs(NEEDS, 4, 8, 0)
.with_modules(&["veth", "bridge"])
.probed_by(probe);

fn block(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let lab = Lab::new()?;
    if !sandbox.applies() {
        repair::take(lab.client)?;
        say(&lab.peer, "gap")?;
        return judged(&hear(&lab.peer, 5)?);
    }
    let c = lab.third()?;
    let connection = repair::take(lab.client)?;
    say(&lab.peer, "gap")?;
    let client = c.run(|| connection.restore())?;
    require("read(2) in C", &hear(&client, 3)?, &text("gap"))?;
    say(&client, "world")?;
    judged(&hear(&lab.peer, 5)?)
}

pub(super) const REPAIR_PRIVILEGE: Scenario = Scenario::new(
    "net.tcp-repair-privilege",
    "Root of a user namespace may not put a socket of the outer network under TCP_REPAIR: EPERM",
    |sandbox| judge("setsockopt(TCP_REPAIR) inside", &sandbox.run(try_repair)?, &refused(Errno::EPERM), &Ok(())),
)
.shows(&["socket-checkpoint", "capabilities"], "capabilities(7), CAP_NET_ADMIN; net/ipv4/tcp.c, tcp_can_repair_sock")
.steps(&["Inside: setsockopt(2) of TCP_REPAIR on a new TCP socket must fail with EPERM."])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_INET"], 3, 8, 0);
