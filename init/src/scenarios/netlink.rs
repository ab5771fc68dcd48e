//! Synchronous requests for network devices over rtnetlink(7).
//!
//! Attributes are raw bytes: the typed messages of netlink-packet-route would add half a megabyte of code to the image,
//! to read a name.

use std::io;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
    parse_string,
};
use netlink_packet_route::link::LinkHeader;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::libc::{IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK};
use nix::poll::PollFlags;

use super::Trouble;
use crate::sandbox::{Answer, During, WAIT_LIMIT, answer, readable};

/// Creates a device of the kind `dummy`. An errno is an answer, for example `EOPNOTSUPP` from a kernel without the
/// dummy driver.
///
/// # Errors
/// The kernel did not answer.
pub(crate) fn add_dummy(name: &str) -> Result<Answer, Trouble> {
    let kind = emitted(&[text(IFLA_INFO_KIND, "dummy")].as_slice());
    let attributes = vec![text(IFLA_IFNAME, name), DefaultNla::new(IFLA_LINKINFO, kind)];
    let answers = request(Link::new(RTM_NEWLINK, attributes), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)?;
    answer("RTM_NEWLINK", acknowledged(answers))
}

/// Removes a device.
///
/// # Errors
/// The kernel's errno, for example `ENODEV`.
pub(crate) fn delete(name: &str) -> Result<(), Trouble> {
    let answers = request(Link::new(RTM_DELLINK, vec![text(IFLA_IFNAME, name)]), NLM_F_ACK)?;
    acknowledged(answers).during("RTM_DELLINK")
}

/// The names of the devices in the calling process's network namespace.
///
/// # Errors
/// The kernel's errno, or an unreadable answer.
pub(crate) fn names() -> Result<Vec<String>, Trouble> {
    let mut names = Vec::new();
    for payload in request(Link::new(RTM_GETLINK, Vec::new()), NLM_F_DUMP)? {
        match payload {
            NetlinkPayload::InnerMessage(link) => names.extend(link.name),
            NetlinkPayload::Error(error) => return Err(error.to_io()).during("RTM_GETLINK"),
            other => return Err(Trouble(format!("RTM_GETLINK: unexpected answer {other:?}"))),
        }
    }
    Ok(names)
}

/// A link message. Requests have attributes; answers have a name.
#[derive(Debug)]
struct Link {
    message_type: u16,
    header: LinkHeader,
    attributes: Vec<DefaultNla>,
    name: Option<String>,
}

impl Link {
    fn new(message_type: u16, attributes: Vec<DefaultNla>) -> Self {
        Self { message_type, header: LinkHeader::default(), attributes, name: None }
    }
}

impl NetlinkSerializable for Link {
    fn message_type(&self) -> u16 {
        self.message_type
    }

    fn buffer_len(&self) -> usize {
        self.header.buffer_len() + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Some((head, rest)) = buffer.split_at_mut_checked(self.header.buffer_len()) {
            self.header.emit(head);
            self.attributes.as_slice().emit(rest);
        }
    }
}

impl NetlinkDeserializable for Link {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let mut link = Self::new(header.message_type, Vec::new());
        link.header = LinkHeader::parse(payload)?;
        for attribute in NlasIterator::new(payload.get(link.header.buffer_len()..).unwrap_or_default()) {
            let attribute = attribute?;
            if attribute.kind() == IFLA_IFNAME {
                link.name = Some(parse_string(attribute.value())?);
            }
        }
        Ok(link)
    }
}

/// An attribute that holds a NUL-terminated string.
fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), &[0]].concat())
}

fn emitted(what: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; what.buffer_len()];
    what.emit(&mut bytes);
    bytes
}

/// The errno of an acknowledgement; 0 means success.
fn acknowledged(answers: Vec<NetlinkPayload<Link>>) -> io::Result<()> {
    match answers.into_iter().next_back() {
        Some(NetlinkPayload::Error(error)) if error.code.is_none() => Ok(()),
        Some(NetlinkPayload::Error(error)) => Err(error.to_io()),
        other => Err(io::Error::other(format!("expected an acknowledgement, received {other:?}"))),
    }
}

/// Sends a request and reads the whole answer.
fn request(link: Link, flags: u16) -> Result<Vec<NetlinkPayload<Link>>, Trouble> {
    let mut socket = Socket::new(NETLINK_ROUTE).during("socket(AF_NETLINK)")?;
    socket.bind_auto().during("bind(2) of a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0)).during("connect(2) of a netlink socket")?;
    let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(link));
    packet.header.flags = NLM_F_REQUEST | flags;
    packet.finalize();
    socket.send(&emitted(&packet), 0).during("send(2) to rtnetlink")?;

    let mut answers = Vec::new();
    loop {
        if !readable(&socket, PollFlags::POLLIN, WAIT_LIMIT)? {
            return Err(Trouble(format!("no answer from rtnetlink within {} ms", WAIT_LIMIT.as_millis())));
        }
        let (datagram, _kernel) = socket.recv_from_full().during("recv(2) from rtnetlink")?;
        let (done, payloads) = payloads(&datagram).during("reading rtnetlink's answer")?;
        answers.extend(payloads);
        if done {
            return Ok(answers);
        }
    }
}

/// The messages of a datagram, and whether the datagram ends the answer.
fn payloads(mut datagram: &[u8]) -> Result<(bool, Vec<NetlinkPayload<Link>>), DecodeError> {
    let mut payloads = Vec::new();
    while !datagram.is_empty() {
        let message = NetlinkMessage::deserialize(datagram)?;
        let len = usize::try_from(message.header.length).map_err(|error| DecodeError::from(error.to_string()))?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok((true, payloads)),
            error @ NetlinkPayload::Error(_) => {
                payloads.push(error);
                return Ok((true, payloads));
            }
            part => payloads.push(part),
        }
        // Messages are padded to four bytes (netlink(7)).
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok((false, payloads))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An RTM_NEWLINK as the kernel sends it, with an attribute that no library knows.
    fn newlink(name: &str) -> Vec<u8> {
        let attributes = vec![DefaultNla::new(0x3fff, vec![1, 2, 3]), text(IFLA_IFNAME, name)];
        let mut packet = NetlinkMessage::new(
            NetlinkHeader::default(),
            NetlinkPayload::InnerMessage(Link::new(RTM_NEWLINK, attributes)),
        );
        packet.finalize();
        let mut bytes = emitted(&packet);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn unknown_attributes_are_skipped() {
        let datagram = [newlink("lo"), newlink("vmlab42")].concat();
        let (done, payloads) = payloads(&datagram).unwrap();
        assert!(!done);
        let names: Vec<_> = payloads
            .into_iter()
            .filter_map(|payload| match payload {
                NetlinkPayload::InnerMessage(link) => link.name,
                _ => None,
            })
            .collect();
        assert_eq!(names, ["lo", "vmlab42"]);
    }

    #[test]
    fn an_errno_is_an_answer_and_a_truncated_message_an_error() {
        // NLMSG_ERROR (2), 36 bytes, error -95, and the header of the request.
        let mut refusal = vec![36, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 161, 255, 255, 255];
        refusal.extend([0; 16]);
        let (done, refused) = payloads(&refusal).unwrap();
        assert!(done);
        assert_eq!(acknowledged(refused).unwrap_err().raw_os_error(), Some(95));
        refusal.splice(16..20, [0; 4]);
        assert!(acknowledged(payloads(&refusal).unwrap().1).is_ok());
        refusal.truncate(20);
        assert!(payloads(&refusal).is_err());
        assert!(acknowledged(Vec::new()).is_err());
    }
}
