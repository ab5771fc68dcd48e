//! An nftables rule in the caller's network namespace (include/uapi/linux/netfilter/nf_tables.h).

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};

use super::netlink::{Attributes, Message, Netlink};
use crate::sandbox::{Answer, Probe, Trouble};
use crate::scenarios::support::known;

/// The name of the table and of its chain.
const NAME: &str = "vmlab";
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFNL_SUBSYS_NFTABLES`, the upper byte of a message's type.
const SUBSYSTEM: u16 = 10;
const NEWTABLE: u16 = SUBSYSTEM << 8;
const NEWCHAIN: u16 = NEWTABLE | 3;
const NEWRULE: u16 = NEWTABLE | 6;

/// Where the rule applies (include/uapi/linux/netfilter.h, `enum nf_inet_hooks`).
#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    Input = 1,
    Output = 3,
}

/// Drops all IPv4 packets to a port of TCP or UDP.
///
/// # Errors
/// The kernel did not answer. Its errno is an answer.
pub(super) fn drop_port(hook: Hook, port: u16) -> Result<Answer, Trouble> {
    let fixed = [IPV4, 0, 0, 0];
    let mark = |kind| Message::new(kind, &[0, 0, 0, SUBSYSTEM.to_be_bytes()[1]], &Attributes::new());
    let table = Message::new(NEWTABLE, &fixed, &Attributes::new().text(1, NAME));
    // NFTA_HOOK_HOOKNUM and NFTA_HOOK_PRIORITY; then NFTA_CHAIN_TABLE, _NAME, _HOOK and _TYPE.
    let place = number(number(Attributes::new(), 1, hook as u32), 2, 0);
    let chain = Attributes::new().text(1, NAME).text(3, NAME).nested(4, &place).text(7, "filter");
    let chain = Message::new(NEWCHAIN, &fixed, &chain);
    // NFTA_RULE_TABLE, _CHAIN and _EXPRESSIONS.
    let rule = Attributes::new().text(1, NAME).text(2, NAME).nested(4, &expressions(port));
    let rule = Message::new(NEWRULE, &fixed, &rule);
    let create = NLM_F_CREATE | NLM_F_ACK;
    Netlink::open(NETLINK_NETFILTER)?.change_together(&[
        (&mark(BATCH_BEGIN), 0),
        (&table, create),
        (&chain, create),
        (&rule, create | NLM_F_APPEND),
        (&mark(BATCH_END), 0),
    ])
}

/// Loads the destination port, compares it, and drops the packet if it is equal.
fn expressions(port: u16) -> Attributes {
    // NFTA_PAYLOAD_DREG (NFT_REG_1), _BASE (the transport header), _OFFSET and _LEN.
    let load =
        [(1, 1), (2, 2), (3, 2), (4, 2)].iter().fold(Attributes::new(), |all, &(kind, value)| number(all, kind, value));
    // NFTA_CMP_SREG, _OP (NFT_CMP_EQ) and _DATA, with NFTA_DATA_VALUE.
    let value = Attributes::new().bytes(1, &port.to_be_bytes());
    let compare = number(number(Attributes::new(), 1, 1), 2, 0).nested(3, &value);
    // NFTA_IMMEDIATE_DREG (NFT_REG_VERDICT) and _DATA, with NFTA_DATA_VERDICT, with NFTA_VERDICT_CODE (NF_DROP).
    let code = Attributes::new().nested(2, &number(Attributes::new(), 1, 0));
    let verdict = number(Attributes::new(), 1, 0).nested(2, &code);
    let list = [("payload", load), ("cmp", compare), ("immediate", verdict)];
    list.iter().fold(Attributes::new(), |all, (name, data)| {
        // NFTA_LIST_ELEM, with NFTA_EXPR_NAME and NFTA_EXPR_DATA.
        all.nested(1, &Attributes::new().text(1, name).nested(2, data))
    })
}

/// Numbers of nftables are in network byte order.
fn number(attributes: Attributes, kind: u16, value: u32) -> Attributes {
    attributes.bytes(kind, &value.to_be_bytes())
}

/// Tests whether the kernel has nftables. Leaves the caller in a new network namespace.
pub(super) fn probe() -> Result<Probe, Trouble> {
    super::netns::leave()?;
    // Without nfnetlink, there is no such protocol; without nftables, no such subsystem.
    if netlink_sys::Socket::new(NETLINK_NETFILTER)
        .is_err_and(|error| error.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32))
    {
        return Ok(Probe::Missing("socket(AF_NETLINK, NETLINK_NETFILTER): EPROTONOSUPPORT".to_owned()));
    }
    let made = drop_port(Hook::Output, 1)?.map_err(crate::sandbox::Code::errno);
    known("NFT_MSG_NEWRULE", made, &[Errno::EINVAL, Errno::EOPNOTSUPP], &[])
}
