//! Network devices over rtnetlink(7), synchronously.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::poll::PollFlags;

use super::Trouble;
use crate::sandbox::{Answer, During, PATIENCE, answer, readable};

/// Makes a device of the kind `dummy`.
///
/// # Errors
/// Only what keeps the kernel from answering; its errno is an answer, as `EOPNOTSUPP` where it has no such devices.
pub fn add_dummy(name: &str) -> Result<Answer, Trouble> {
    let mut link = named(name);
    link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]));
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    answer("RTM_NEWLINK", acknowledged(request(RouteNetlinkMessage::NewLink(link), flags)?))
}

/// Removes a device.
///
/// # Errors
/// The kernel's errno, as `ENODEV`.
pub fn delete(name: &str) -> Result<(), Trouble> {
    acknowledged(request(RouteNetlinkMessage::DelLink(named(name)), NLM_F_ACK)?).during("RTM_DELLINK")
}

/// The names of the devices in the calling process's network namespace.
///
/// # Errors
/// The kernel's errno.
pub fn names() -> Result<Vec<String>, Trouble> {
    let mut names = Vec::new();
    for payload in request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)? {
        match payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                names.extend(link.attributes.into_iter().find_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name),
                    _ => None,
                }));
            }
            NetlinkPayload::Error(error) => return Err(error.to_io()).during("RTM_GETLINK"),
            _ => {}
        }
    }
    Ok(names)
}

fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

type Payload = NetlinkPayload<RouteNetlinkMessage>;

/// The errno of an acknowledgement, which is 0 where all went well.
fn acknowledged(answers: Vec<Payload>) -> io::Result<()> {
    match answers.into_iter().next_back() {
        Some(NetlinkPayload::Error(error)) if error.code.is_none() => Ok(()),
        Some(NetlinkPayload::Error(error)) => Err(error.to_io()),
        other => Err(io::Error::other(format!("no acknowledgement, but {other:?}"))),
    }
}

/// Sends one request and reads all that answers it.
fn request(message: RouteNetlinkMessage, flags: u16) -> Result<Vec<Payload>, Trouble> {
    let mut socket = Socket::new(NETLINK_ROUTE).during("socket(AF_NETLINK)")?;
    socket.bind_auto().during("bind(2) of a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).during("connect(2) of a netlink socket")?;
    let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    packet.header.flags = NLM_F_REQUEST | flags;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0).during("send(2) to rtnetlink")?;

    let mut answers = Vec::new();
    loop {
        if !readable(&socket, PollFlags::POLLIN, PATIENCE)? {
            return Err(Trouble(format!("no answer from rtnetlink within {} ms", PATIENCE.as_millis())));
        }
        let (datagram, _kernel) = socket.recv_from_full().during("recv(2) from rtnetlink")?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::deserialize(rest).during("reading rtnetlink's answer")?;
            // Messages are padded to four bytes: netlink(7).
            let len = usize::try_from(message.header.length).during("length of a netlink message")?;
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                error @ NetlinkPayload::Error(_) => {
                    answers.push(error);
                    return Ok(answers);
                }
                part => answers.push(part),
            }
        }
    }
}
