//! Synchronous requests over netlink(7).
//!
//! Messages and attributes are raw bytes: the typed messages of netlink-packet-route would add half a megabyte of code to
//! the image.

use std::fmt;

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};

use crate::sandbox::{Answer, Code, During, Trouble};
use crate::scenarios::support::await_input;

/// Length of `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;
/// The flag of an attribute that contains attributes (include/uapi/linux/netlink.h). Newer requests demand it.
const NLA_F_NESTED: u16 = 1 << 15;

/// Attributes of a message, one after another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    #[must_use]
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A NUL-terminated string.
    #[must_use]
    pub(crate) fn text(self, kind: u16, text: &str) -> Self {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    #[must_use]
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    #[must_use]
    pub(crate) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// A netlink message: its type and the bytes after `struct nlmsghdr`.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// `fixed` is the structure that the message type begins with.
    pub(crate) fn new(kind: u16, fixed: &[u8], attributes: &Attributes) -> Self {
        Self { kind, body: [fixed, &attributes.0].concat() }
    }

    /// The value of the first attribute of this kind behind the fixed structure, which has `skip` bytes.
    pub(crate) fn attribute(&self, skip: usize, kind: u16) -> Option<&[u8]> {
        let mut rest = self.body.get(skip..)?;
        loop {
            let length = usize::from(number(rest, 0)?);
            let value = rest.get(4..length)?;
            if number(rest, 2)? & !NLA_F_NESTED == kind {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }

    /// An attribute that is a NUL-terminated string.
    pub(crate) fn text(&self, skip: usize, kind: u16) -> Option<String> {
        let value = self.attribute(skip, kind)?;
        Some(String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned())
    }

    fn emit(&self, flags: i32, sequence: u32, to: &mut Vec<u8>) -> Result<(), Trouble> {
        let length = u32::try_from(HEADER + self.body.len()).during("the length of a netlink message")?;
        to.extend(length.to_ne_bytes());
        to.extend(self.kind.to_ne_bytes());
        to.extend(u16::try_from(flags).during("the flags of a netlink message")?.to_ne_bytes());
        to.extend(sequence.to_ne_bytes());
        to.extend([0; 4]);
        to.extend(&self.body);
        to.resize(to.len().next_multiple_of(4), 0);
        Ok(())
    }
}

/// A netlink socket of the calling process's network namespace.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// # Errors
    /// As socket(2), bind(2) and connect(2).
    pub(crate) fn open(protocol: isize) -> Result<Self, Trouble> {
        let mut socket = Socket::new(protocol).during("socket(AF_NETLINK)")?;
        socket.bind_auto().during("bind(2) of a netlink socket")?;
        socket.connect(&SocketAddr::new(0, 0)).during("connect(2) of a netlink socket")?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Subscribes to the notifications of a group.
    pub(crate) fn join(&mut self, group: u32) -> Result<(), Trouble> {
        self.socket.add_membership(group).during("setsockopt(NETLINK_ADD_MEMBERSHIP)")
    }

    /// Sends a request and waits for its acknowledgement. The kernel's errno is an answer.
    ///
    /// # Errors
    /// The kernel did not answer.
    pub(crate) fn change(&mut self, message: &Message, flags: i32) -> Result<Answer, Trouble> {
        self.send(&[(message, flags | NLM_F_ACK)])?;
        self.acknowledged()
    }

    /// Sends messages in one datagram, and returns the answer to each that asks for an acknowledgement, up to the first errno.
    pub(crate) fn change_together(&mut self, messages: &[(&Message, i32)]) -> Result<Answer, Trouble> {
        self.send(messages)?;
        for _ in messages.iter().filter(|(_, flags)| flags & NLM_F_ACK != 0) {
            if let Err(code) = self.acknowledged()? {
                return Ok(Err(code));
            }
        }
        Ok(Ok(()))
    }

    /// Asks for all objects of a kind.
    ///
    /// # Errors
    /// The kernel's errno, or an unreadable answer.
    pub(crate) fn dump(&mut self, message: &Message) -> Result<Vec<Message>, Trouble> {
        self.send(&[(message, NLM_F_DUMP)])?;
        let mut found = Vec::new();
        loop {
            for answer in self.receive()? {
                match i32::from(answer.kind) {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => {
                        errno(&answer)?.map_err(Code::errno).during("a netlink dump")?;
                    }
                    _ => found.push(answer),
                }
            }
        }
    }

    /// Waits for the next datagram.
    pub(crate) fn receive(&mut self) -> Result<Vec<Message>, Trouble> {
        await_input("a netlink message", &self.socket)?;
        let (datagram, _kernel) = self.socket.recv_from_full().during("recv(2) from netlink")?;
        messages(&datagram)
    }

    fn send(&mut self, messages: &[(&Message, i32)]) -> Result<(), Trouble> {
        let mut datagram = Vec::new();
        for (message, flags) in messages {
            self.sequence += 1;
            message.emit(flags | NLM_F_REQUEST, self.sequence, &mut datagram)?;
        }
        self.socket.send(&datagram, 0).map(drop).during("send(2) to netlink")
    }

    fn acknowledged(&mut self) -> Result<Answer, Trouble> {
        match self.receive()?.last() {
            Some(answer) if i32::from(answer.kind) == NLMSG_ERROR => errno(answer),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(answer: &impl fmt::Debug) -> Trouble {
    Trouble::new(format_args!("expected an acknowledgement from netlink, received {answer:?}"))
}

/// The errno of a `struct nlmsgerr`; 0 means success.
fn errno(answer: &Message) -> Result<Answer, Trouble> {
    let code = answer.body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or_else(|| unexpected(answer))?;
    Ok(if code == 0 { Ok(()) } else { Err(Errno::from_raw(code.wrapping_neg()).into()) })
}

/// The messages of a datagram.
fn messages(mut datagram: &[u8]) -> Result<Vec<Message>, Trouble> {
    let mut messages = Vec::new();
    while !datagram.is_empty() {
        let length = datagram.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        let length = length.and_then(|length| usize::try_from(length).ok());
        let (body, kind) = length
            .and_then(|length| datagram.get(HEADER..length))
            .zip(number(datagram, 4))
            .ok_or_else(|| Trouble::new("a truncated netlink message"))?;
        messages.push(Message { kind, body: body.to_vec() });
        // Messages are padded to four bytes (netlink(7)).
        datagram = datagram.get((HEADER + body.len()).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(messages)
}

/// The two bytes at this offset.
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use nix::libc::{IFLA_IFNAME, RTM_NEWLINK};

    use super::*;

    /// An RTM_NEWLINK as the kernel sends it, with an attribute that this module does not know.
    fn newlink(name: &str) -> Vec<u8> {
        let attributes = Attributes::new().bytes(0x3fff, &[1, 2, 3]).text(IFLA_IFNAME, name);
        let mut bytes = Vec::new();
        Message::new(RTM_NEWLINK, &[0; 16], &attributes).emit(0, 1, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn unknown_attributes_are_skipped() {
        let messages = messages(&[newlink("lo"), newlink("vmlab42")].concat()).unwrap();
        let names: Vec<_> = messages.iter().filter_map(|message| message.text(16, IFLA_IFNAME)).collect();
        assert_eq!(names, ["lo", "vmlab42"]);
        assert!(messages.iter().all(|message| message.kind == RTM_NEWLINK && message.attribute(16, 99).is_none()));
    }

    #[test]
    fn an_errno_is_an_answer_and_a_truncated_message_an_error() {
        // NLMSG_ERROR (2), 36 bytes, error -95, and the header of the request.
        let mut refusal = vec![36, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 161, 255, 255, 255];
        refusal.extend([0; 16]);
        let answer = |bytes: &[u8]| messages(bytes).and_then(|messages| errno(&messages[0]));
        assert_eq!(answer(&refusal), Ok(Err(Errno::EOPNOTSUPP.into())));
        refusal.splice(16..20, [0; 4]);
        assert_eq!(answer(&refusal), Ok(Ok(())));
        refusal.truncate(20);
        assert!(answer(&refusal).is_err());
        assert!(messages(&[0; 3]).is_err());
    }
}
