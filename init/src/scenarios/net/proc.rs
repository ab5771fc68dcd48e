//! What /proc, /sys and netlink tell about the network, inside and outside.

use std::fs;
use std::path::Path;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::libc::{IFLA_IFNAME, RTM_NEWLINK, RTNLGRP_LINK};
use vmlab_protocol::catalogue::Namespace;

use super::link::{self, Device, LINK_HEADER, device_name, probe_kind};
use super::netlink::Netlink;
use super::{Finding, Probe, Scenario, Trouble, decide, judge, netns, read, require, write};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::support::{Scratch, mount_kind};

pub(super) const DEVICES: Scenario = Scenario::new(
    "net.devices",
    "A network device created outside is not listed inside; a loopback device is",
    devices,
)
.shows(&["3j"], "network_namespaces(7), rtnetlink(7)")
.steps(&[
    "Outside: RTM_NEWLINK creates a device of the kind dummy.",
    "Inside: RTM_GETLINK lists the devices. A loopback device is among them, and the device must not be.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_DUMMY"], 2, 6, 29)
.with_modules(&["dummy"])
.probed_by(probe_dummy);

fn devices(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let name = device_name('a');
    Device::new("dummy", &name).add()?;
    let inside = sandbox.run(link::names)?;
    require("whether a loopback device exists inside", &inside.iter().any(|name| name == "lo"), &true)?;
    let listed = inside.contains(&name);
    decide("network devices inside", &inside, (!listed, listed), format_args!("a list with or without {name}"))
}

pub(super) fn probe_dummy() -> Result<Probe, Trouble> {
    probe_kind("dummy")
}

pub(super) const LINK_EVENTS: Scenario = Scenario::new(
    "net.link-events",
    "A new device is announced to the netlink listeners of its network namespace only",
    link_events,
)
.shows(&["network-proc"], "rtnetlink(7), group RTMGRP_LINK")
.steps(&[
    "Outside: subscribes to RTMGRP_LINK.",
    "Inside: subscribes too, and creates a device; the announcement must come there.",
    "Outside: creates a second device, and reads announcements until its own. The first device must not be among them.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_DUMMY"], 2, 6, 29)
.with_modules(&["dummy"])
.probed_by(probe_dummy);

fn link_events(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let (first, second) = (device_name('a'), device_name('b'));
    let mut outside = subscribed()?;
    let seen = sandbox.run(|| {
        let mut inside = subscribed()?;
        Device::new("dummy", &first).add()?;
        announced(&mut inside, &first)
    })?;
    require("whether the device is announced inside", &seen.contains(&first), &true)?;
    Device::new("dummy", &second).add()?;
    let seen = announced(&mut outside, &second)?;
    let first_too = seen.contains(&first);
    decide(
        "devices announced outside",
        &seen,
        (!first_too, first_too),
        format_args!("{second}, with or without {first}"),
    )
}

fn subscribed() -> Result<Netlink, Trouble> {
    let mut netlink = Netlink::open(NETLINK_ROUTE)?;
    netlink.join(RTNLGRP_LINK)?;
    Ok(netlink)
}

/// The names of the announced devices up to this one.
fn announced(netlink: &mut Netlink, last: &str) -> Result<Vec<String>, Trouble> {
    let mut names = Vec::<String>::new();
    while names.last().is_none_or(|name| name != last) {
        let messages = netlink.receive()?;
        let links = messages.iter().filter(|message| message.kind == RTM_NEWLINK);
        names.extend(links.filter_map(|message| message.text(LINK_HEADER, IFLA_IFNAME)));
        names.dedup();
    }
    Ok(names)
}

pub(super) const SYSCTL: Scenario =
    Scenario::new("net.sysctl", "/proc/sys/net belongs to the writer's network namespace", sysctl)
        .shows(&["3j", "network-proc"], "network_namespaces(7)")
        .steps(&[
            "Inside: writes another value to /proc/sys/net/ipv4/ip_forward, and reads it back.",
            "Outside: the file must have the same value as before.",
        ])
        .inside(&[Namespace::Net])
        .needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_PROC_FS"], 2, 6, 29);

fn sysctl(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let file = "/proc/sys/net/ipv4/ip_forward";
    let before = read(file)?;
    let other = if before == "0" { "1" } else { "0" }.to_owned();
    let inside = sandbox.run(|| {
        write(file, &other)?;
        read(file)
    })?;
    require("ip_forward inside", &inside, &other)?;
    judge("ip_forward outside", &read(file)?, &before, &other)
}

pub(super) const SYSFS: Scenario = Scenario::new(
    "net.sysfs",
    "A sysfs mounted inside lists the devices inside; an older mount still lists those outside",
    sysfs,
)
.shows(&["network-proc"], "network_namespaces(7), sysfs(5)")
.steps(&[
    "Outside: creates a device, and mounts a sysfs.",
    "Inside: this mount lists the device, because a mount belongs to the network namespace of its creator.",
    "Inside: mounts another sysfs, which must not list the device.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_DUMMY", "CONFIG_SYSFS"], 2, 6, 35)
.with_modules(&["dummy"])
.probed_by(probe_dummy);

fn sysfs(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let name = device_name('a');
    Device::new("dummy", &name).add()?;
    let (old, new) = (Scratch::new()?, Scratch::new()?);
    mount_sysfs(old.path())?;
    let (in_old, in_new) = sandbox.run(|| {
        mount_sysfs(new.path())?;
        Ok((listed(old.path())?.contains(&name), listed(new.path())?.contains(&name)))
    })?;
    require("whether the older mount lists the device inside", &in_old, &true)?;
    judge("whether a mount made inside lists the device", &in_new, &false, &true)
}

fn mount_sysfs(target: &Path) -> Result<(), Trouble> {
    mount_kind("sysfs", target, None).during("mount(sysfs)")
}

fn listed(mounted: &Path) -> Result<Vec<String>, Trouble> {
    let entries = fs::read_dir(mounted.join("class/net")).during("opening class/net of a sysfs")?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.during("reading class/net of a sysfs")?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}
