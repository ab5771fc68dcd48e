//! Unix sockets: who is at the other end, and which descriptors come from there.

use std::io::{IoSlice, Read as _, Write as _, pipe};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::libc::{SOL_SOCKET, c_int};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use vmlab_protocol::catalogue::Namespace;

use super::support::{Scratch, field, judge, known, require};
use super::{Finding, Probe, Scenario, Trouble};
use crate::sandbox::{Answer, Code, During, Sandbox, refused};
use crate::sys::pidfd;
use crate::sys::process::fork_with;
use crate::sys::socket::{option, option_bytes, option_fd, received_pidfd, set_option};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&NETNS_COOKIE, &PASS_PIDFD, &PASS_RIGHTS, &PEER_PIDFD, &REAPED_PEER];

/// Socket options of include/uapi/asm-generic/socket.h.
const SO_NETNS_COOKIE: c_int = 71;
const SO_PASSPIDFD: c_int = 76;
const SO_PEERPIDFD: c_int = 77;
const SO_PASSRIGHTS: c_int = 83;

fn pair() -> Result<(UnixStream, UnixStream), Trouble> {
    UnixStream::pair().during("socketpair(2)")
}

fn probe(name: &str, number: c_int) -> Result<Probe, Trouble> {
    let (socket, _peer) = pair()?;
    known(&format!("getsockopt({name})"), option(&socket, SOL_SOCKET, number), &[Errno::ENOPROTOOPT], &[])
}

const NETNS_COOKIE: Scenario = Scenario::new(
    "unix.netns-cookie",
    "SO_NETNS_COOKIE of a socket made inside is that of another network namespace",
    netns_cookie,
)
.shows(&["later-unix"], "include/uapi/asm-generic/socket.h, SO_NETNS_COOKIE")
.steps(&[
    "Outside: reads SO_NETNS_COOKIE of a new UDP socket.",
    "Inside: the same option of a socket that is made there must have another value.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_INET"], 5, 14, 0)
.probed_by(|| known("getsockopt(SO_NETNS_COOKIE)", cookie()?.map_err(Code::errno), &[Errno::ENOPROTOOPT], &[]));

fn netns_cookie(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = cookie()?;
    require("whether a cookie is there outside", &outside.is_ok(), &true)?;
    let inside = sandbox.run(cookie)?;
    require("whether a cookie is there inside", &inside.is_ok(), &true)?;
    judge("whether both cookies are the same", &(inside == outside), &false, &true)
}

fn cookie() -> Result<Answer<u64>, Trouble> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).during("bind(2) of a UDP socket")?;
    let mut value = [0; 8];
    let found = option_bytes(&socket, SOL_SOCKET, SO_NETNS_COOKIE, &mut value);
    Ok(found.map(|_| u64::from_ne_bytes(value)).map_err(Code::from))
}

const PASS_PIDFD: Scenario = Scenario::new(
    "unix.pass-pidfd",
    "A receiver that has set SO_PASSPIDFD gets a pidfd of the sender with each message",
    pass_pidfd,
)
.shows(&["later-unix"], "unix(7), include/linux/socket.h, SCM_PIDFD")
.steps(&[
    "The subject sets SO_PASSPIDFD on one end of a pair of Unix sockets.",
    "Another process sends a byte from the other end.",
    "recvmsg(2): a control message SCM_PIDFD must come with the byte, and its pidfd must be of the sender.",
])
.by_means_of("SO_PASSPIDFD")
.needs(&["CONFIG_UNIX"], 6, 5, 0)
.probed_by(|| probe("SO_PASSPIDFD", SO_PASSPIDFD));

fn pass_pidfd(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (receiver, mut sender) = pair()?;
    if sandbox.applies() {
        set_option(&receiver, SOL_SOCKET, SO_PASSPIDFD, 1).during("setsockopt(SO_PASSPIDFD)")?;
    }
    // The sender lives on until the pipe is closed.
    let (mut open, opener) = pipe().during("pipe(2)")?;
    let mut opener = Some(opener);
    let child = fork_with(|| {
        opener = None;
        u8::from(sender.write_all(&[1]).is_err() || open.read(&mut [0]).is_err())
    })
    .during("fork(2) of the sender")?;
    let pidfd = received_pidfd(&receiver).during("recvmsg(2)")?;
    let of = pidfd.map(|pidfd| process_of(&pidfd)).transpose()?;
    drop(opener);
    waitpid(child, None).during("waitpid(2)")?;
    judge("the process of the received pidfd", &of, &Some(child.to_string()), &None)
}

/// The PID that a pidfd stands for (proc_pid_fdinfo(5)).
fn process_of(pidfd: &OwnedFd) -> Result<String, Trouble> {
    field(&format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()), "Pid:")
}

const PASS_RIGHTS: Scenario = Scenario::new(
    "unix.pass-rights",
    "A receiver that has cleared SO_PASSRIGHTS cannot be sent descriptors: EPERM",
    pass_rights,
)
.shows(&["later-unix", "version-34"], "include/uapi/asm-generic/socket.h, SO_PASSRIGHTS")
.steps(&[
    "The subject clears SO_PASSRIGHTS, which is set by default, on one end of a pair of Unix sockets.",
    "sendmsg(2) of a descriptor from the other end must fail with EPERM.",
    "A message without a descriptor can be sent.",
])
.by_means_of("SO_PASSRIGHTS = 0")
.needs(&["CONFIG_UNIX"], 6, 16, 0)
.probed_by(|| probe("SO_PASSRIGHTS", SO_PASSRIGHTS));

fn pass_rights(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (receiver, sender) = pair()?;
    if sandbox.applies() {
        set_option(&receiver, SOL_SOCKET, SO_PASSRIGHTS, 0).during("setsockopt(SO_PASSRIGHTS)")?;
    }
    require("sendmsg(2) without a descriptor", &send(&sender, &[]), &Ok(()))?;
    let descriptors = [receiver.as_raw_fd()];
    let sent = send(&sender, &[ControlMessage::ScmRights(&descriptors)]);
    judge("sendmsg(2) of a descriptor", &sent, &refused(Errno::EPERM), &Ok(()))
}

fn send(socket: &UnixStream, control: &[ControlMessage<'_>]) -> Answer {
    let data = [IoSlice::new(&[1])];
    let sent = sendmsg::<UnixAddr>(socket.as_fd().as_raw_fd(), &data, control, MsgFlags::empty(), None);
    sent.map(drop).map_err(Code::from)
}

const PEER_PIDFD: Scenario = Scenario::new(
    "unix.peer-pidfd",
    "A pidfd from SO_PEERPIDFD does not reach a peer outside the PID namespace: EINVAL",
    peer_pidfd,
)
.shows(&["later-unix"], "unix(7), pidfd_send_signal(2)")
.steps(&[
    "Outside: makes a pair of Unix sockets. Inside: SO_PEERPIDFD of one end gives a pidfd of the process outside.",
    "Inside: pidfd_send_signal(2) of signal 0 must fail with EINVAL, because the process is in no namespace below.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_UNIX"], 6, 5, 0)
.probed_by(|| probe("SO_PEERPIDFD", SO_PEERPIDFD));

fn peer_pidfd(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (socket, _peer) = pair()?;
    let signalled = sandbox.run(|| {
        let pidfd = option_fd(&socket, SOL_SOCKET, SO_PEERPIDFD).during("getsockopt(SO_PEERPIDFD) inside")?;
        Ok(pidfd::send_signal(pidfd.as_raw_fd(), 0).map_err(Code::from))
    })?;
    judge("pidfd_send_signal(2) to the peer outside", &signalled, &refused(Errno::EINVAL), &Ok(()))
}

const REAPED_PEER: Scenario = Scenario::new(
    "unix.reaped-peer",
    "SO_PEERPIDFD names the peer also after it was reaped; its PID is nobody's then",
    reaped_peer,
)
.shows(&["later-unix", "version-17"], "unix(7), pidfd_open(2)")
.steps(&[
    "A process connects to a listening Unix socket, ends, and is reaped.",
    "The subject asks for SO_PEERPIDFD, which must give a pidfd.",
    "The control asks for SO_PEERCRED, and opens its PID by pidfd_open(2), which fails with ESRCH.",
])
.by_means_of("SO_PEERPIDFD")
.needs(&["CONFIG_UNIX"], 6, 16, 0)
.probed_by(|| {
    let (socket, _pid) = left_by_peer()?;
    let pidfd = option_fd(&socket, SOL_SOCKET, SO_PEERPIDFD);
    known("getsockopt(SO_PEERPIDFD) of a reaped peer", pidfd, &[Errno::ENOPROTOOPT, Errno::EINVAL], &[])
});

fn reaped_peer(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (socket, pid) = left_by_peer()?;
    let opened = if sandbox.applies() {
        option_fd(&socket, SOL_SOCKET, SO_PEERPIDFD)
    } else {
        let peer = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials);
        let peer = peer.during("getsockopt(SO_PEERCRED)")?.pid();
        require("the peer's PID", &peer, &pid.as_raw())?;
        pidfd::open(pid, 0)
    };
    judge("a pidfd of the reaped peer", &opened.map(drop).map_err(Code::from), &Ok(()), &refused(Errno::ESRCH))
}

/// A connection whose peer has ended and was reaped, and the peer's PID.
fn left_by_peer() -> Result<(UnixStream, Pid), Trouble> {
    let scratch = Scratch::new()?;
    let path = scratch.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).during("bind(2)")?;
    let peer = fork_with(|| u8::from(UnixStream::connect(&path).is_err())).during("fork(2) of the peer")?;
    let (socket, _) = listener.accept().during("accept(2)")?;
    waitpid(peer, None).during("waitpid(2) for the peer")?;
    Ok((socket, peer))
}
