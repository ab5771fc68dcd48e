//! What a packet costs between network namespaces.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use vmlab_protocol::catalogue::Namespace;

use super::Measure;
use super::links::{self, Ipvlan, New};
use super::meter::{Meter, Operation, in_child, time};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::Trouble;

const SANDBOX: Sandbox = Sandbox::none().with_namespaces(&[Namespace::Net]);

pub(super) const NETWORK: Measure = Measure {
    id: "measure.network",
    title: "A packet and its answer over veth, bridge, macvlan, ipvlan, netkit against loopback",
    steps: &[
        "One process has a UDP socket in each of two network namespaces, which a pair of devices connects.",
        "The time of a loop that sends 64 bytes from one socket to the other, and 64 bytes back.",
        "Baseline: the same between two sockets on the loopback device of one namespace.",
    ],
    source: "network_namespaces(7); ip-link(8)",
    config: &["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_VETH"],
    since: (2, 6, 33),
    modules: &["bridge", "dummy", "ipvlan", "macvlan", "veth"],
    cpus: 1,
    probe: || SANDBOX.probe(),
    measure: network,
};

/// The devices at both ends have this number and name.
const END: u32 = 10;
const NAME: &str = "vmlab-end";
/// The devices between them, in the namespace between.
const MIDDLE: u32 = 20;
/// The number of the loopback device.
const LOOPBACK: u32 = 1;

const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 7, 7, 1), Ipv4Addr::new(10, 7, 7, 2)];

/// The namespaces at both ends.
type Ends = [File; 2];

/// Makes the devices of both ends from the namespace between.
type Connect = fn(&Ends) -> Result<(), Errno>;

const CONNECTIONS: [(&str, Connect); 6] = [
    ("veth", |[one, other]| links::add_pair("veth", &end(one), &end(other))),
    ("veth, bridge", |ends| {
        links::add("bridge", &middle(MIDDLE, "vmlab-bridge"))?;
        links::up(MIDDLE, None)?;
        for (namespace, (index, name)) in ends.iter().zip([(MIDDLE + 1, "vmlab-port1"), (MIDDLE + 2, "vmlab-port2")]) {
            links::add_pair("veth", &middle(index, name), &end(namespace))?;
            links::up(index, Some(MIDDLE))?;
        }
        Ok(())
    }),
    ("macvlan", |ends| {
        links::add("dummy", &middle(MIDDLE, "vmlab-dummy"))?;
        links::up(MIDDLE, None)?;
        ends.iter().try_for_each(|namespace| links::add_macvlan(&end(namespace), MIDDLE))
    }),
    ("ipvlan, mode L2", |ends| ipvlan(ends, Ipvlan::L2)),
    ("ipvlan, mode L3", |ends| ipvlan(ends, Ipvlan::L3)),
    // Since 6.7.
    ("netkit, mode L3", |[one, other]| links::add_pair("netkit", &end(one), &end(other))),
];

fn ipvlan(ends: &Ends, mode: Ipvlan) -> Result<(), Errno> {
    links::add("dummy", &middle(MIDDLE, "vmlab-dummy"))?;
    links::up(MIDDLE, None)?;
    ends.iter().try_for_each(|namespace| links::add_ipvlan(&end(namespace), MIDDLE, mode))
}

const fn end(namespace: &File) -> New<'_> {
    New { index: END, name: NAME, namespace: Some(namespace) }
}

const fn middle(index: u32, name: &str) -> New<'_> {
    New { index, name, namespace: None }
}

fn network(meter: &mut Meter) -> Result<(), Trouble> {
    for (name, connect) in CONNECTIONS {
        // The namespace between, which ends with this process or with the next one.
        unshare(CloneFlags::CLONE_NEWNET).during("unshare(CLONE_NEWNET)")?;
        let members = [SANDBOX.hold(|| Ok(()))?, SANDBOX.hold(|| Ok(()))?];
        let [one, other] = &members;
        let ends = [open(one.pid())?, open(other.pid())?];
        match connect(&ends) {
            Err(Errno::EOPNOTSUPP) => {
                meter.cannot_show(name, "the kernel has no such device (RTM_NEWLINK: EOPNOTSUPP)");
                continue;
            }
            connected => connected.during(format_args!("connecting two namespaces by {name}"))?,
        }
        let shared = meter.shared();
        for (namespace, address) in ends.iter().zip(ADDRESSES) {
            in_child(&shared, || configure(namespace, address).map(|()| 0))?;
        }
        let [one, other] = &ends;
        let mut over = |times| in_child(&shared, || exchange((one, ADDRESSES[0]), (other, ADDRESSES[1]), times));
        let loopback = (one, Ipv4Addr::LOCALHOST);
        let mut loops = |times| in_child(&shared, || exchange(loopback, loopback, times));
        meter.compare(
            Operation::new(format!("{name}: there and back"), &mut over),
            Operation::new("the same over loopback", &mut loops),
        )?;
    }
    Ok(())
}

fn open(pid: nix::unistd::Pid) -> Result<File, Trouble> {
    let path = format!("/proc/{pid}/ns/net");
    File::open(&path).during(format_args!("opening {path}"))
}

fn enter(namespace: &File) -> Result<(), Trouble> {
    setns(namespace, CloneFlags::CLONE_NEWNET).during("setns(2)")
}

fn configure(namespace: &File, address: Ipv4Addr) -> Result<(), Trouble> {
    enter(namespace)?;
    for index in [LOOPBACK, END] {
        links::up(index, None).during("bringing a device up")?;
    }
    links::add_address(END, address).during("RTM_NEWADDR")
}

/// The time of so many exchanges.
fn exchange(one: (&File, Ipv4Addr), other: (&File, Ipv4Addr), times: u64) -> Result<u64, Trouble> {
    let bind = |(namespace, address): (&File, Ipv4Addr)| {
        enter(namespace)?;
        let socket = UdpSocket::bind((address, 0)).during("bind(2)")?;
        socket.set_read_timeout(Some(Duration::from_secs(10))).during("setsockopt(SO_RCVTIMEO)")?;
        Ok::<_, Trouble>(socket)
    };
    let (one, other) = (bind(one)?, bind(other)?);
    one.connect(other.local_addr().during("getsockname(2)")?).during("connect(2)")?;
    other.connect(one.local_addr().during("getsockname(2)")?).during("connect(2)")?;
    let mut buffer = [0; 64];
    let mut there_and_back = || -> Result<(), Trouble> {
        for (from, to) in [(&one, &other), (&other, &one)] {
            from.send(&[7; 64]).during("send(2)")?;
            to.recv(&mut buffer).during("recv(2)")?;
        }
        Ok(())
    };
    // The ends find each other's addresses.
    for _ in 0..4 {
        there_and_back()?;
    }
    time(|| (0..times).try_for_each(|_| there_and_back()))
}
