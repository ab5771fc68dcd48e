//! Devices that are moved to a network namespace, and where they are when it dies.

use nix::errno::Errno;
use vmlab_protocol::catalogue::Namespace;

use super::link::{self, Device, probe_kind, try_move};
use super::netns::{self, Netns, await_teardown};
use super::proc::probe_dummy;
use super::routing::probe_veth;
use super::{Finding, Probe, Scenario, Trouble, judge, require};
use crate::sandbox::{Sandbox, refused};
use crate::scenarios::support::until;

pub(super) const DEAD_DUMMY: Scenario = Scenario::new(
    "net.dead-dummy",
    "A virtual device that was moved inside is destroyed with the network namespace",
    dead_dummy,
)
.shows(&["network-direct"], "network_namespaces(7)")
.steps(&[
    "Outside: creates a device of the kind dummy, and moves it to the network namespace of a process inside.",
    "The process inside is killed, and the leg waits until the kernel has removed dead network namespaces.",
    "Outside: the device must not come back.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_DUMMY", "CONFIG_VETH"], 2, 6, 29)
.with_modules(&["dummy", "veth"])
.probed_by(probe_both);

fn dead_dummy(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let inside = sandbox.hold(|| Ok(()))?;
    Device::new("dummy", "moved").add()?;
    link::move_to("moved", Netns::of(inside.pid())?.file())?;
    drop(inside);
    await_teardown()?;
    judge("whether the device is outside afterwards", &link::is_there("moved")?, &false, &true)
}

fn probe_both() -> Result<Probe, Trouble> {
    probe_dummy()?.and(probe_veth)
}

pub(super) const IMMOVABLE: Scenario = Scenario::new(
    "net.immovable",
    "A loopback device and a bridge cannot be moved to another network namespace: EINVAL",
    immovable,
)
.shows(&["network-direct"], "network_namespaces(7), ip-link(8)")
.steps(&[
    "In a new network namespace: creates a bridge, and two devices of the kinds dummy and veth.",
    "IFLA_NET_NS_FD moves two devices to another network namespace: it must fail with EINVAL for loopback and bridge.",
    "The control moves the two others, which succeeds.",
])
.by_means_of("devices that belong to their network namespace")
.needs(&["CONFIG_NET_NS", "CONFIG_BRIDGE", "CONFIG_DUMMY", "CONFIG_VETH"], 2, 6, 34)
.with_modules(&["bridge", "dummy", "veth"])
.probed_by(|| probe_kind("bridge")?.and(probe_both));

fn immovable(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let target = Netns::new()?;
    Device::new("bridge", "bridge").add()?;
    Device::new("dummy", "dummy").add()?;
    Device::pair("veth", "veth", "peer").add()?;
    let devices = if sandbox.applies() { ["lo", "bridge"] } else { ["dummy", "veth"] };
    let moved = (try_move(devices[0], target.file())?, try_move(devices[1], target.file())?);
    let no = refused(Errno::EINVAL);
    judge(&format!("moving {} and {}", devices[0], devices[1]), &moved, &(no, no), &(Ok(()), Ok(())))
}

pub(super) const MOVE: Scenario = Scenario::new(
    "net.move-device",
    "A device that is moved inside by IFLA_NET_NS_FD is not outside any more",
    move_device,
)
.shows(&["network-direct"], "network_namespaces(7), rtnetlink(7)")
.steps(&[
    "Outside: creates a device, and moves it to the network namespace of a process inside.",
    "Inside: the device is listed.",
    "Outside: the device must not be listed.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_DUMMY"], 2, 6, 34)
.with_modules(&["dummy"])
.probed_by(probe_dummy);

fn move_device(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let inside = sandbox.hold(|| Ok(()))?;
    let netns = Netns::of(inside.pid())?;
    Device::new("dummy", "moved").add()?;
    link::move_to("moved", netns.file())?;
    require("whether the device is inside", &netns.run(|| link::is_there("moved"))?, &true)?;
    judge("whether the device is outside", &link::is_there("moved")?, &false, &true)
}

/// The load balancer of serial lines: a device that no request has created, as those of network cards.
const EQUALIZER: &str = "eql";

pub(super) const PHYSICAL: Scenario = Scenario::new(
    "net.physical-returns",
    "A device that its driver has created returns when the network namespace dies",
    physical_returns,
)
.shows(&["network-direct"], "network_namespaces(7)")
.steps(&[
    "Moves the device eql, which its driver has created as a card's, to the namespace of a process inside.",
    "Outside: the device must not be listed.",
    "The process inside is killed: the device comes back to the initial network namespace.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_EQUALIZER"], 2, 6, 29)
.with_modules(&["eql"])
.probed_by(|| {
    let there = link::is_there(EQUALIZER)?;
    Ok(if there { Probe::Available } else { Probe::Missing(format!("RTM_GETLINK lists no device {EQUALIZER}")) })
});

fn physical_returns(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let netns = Netns::of(inside.pid())?;
    link::move_to(EQUALIZER, netns.file())?;
    let listed = link::is_there(EQUALIZER)?;
    require("whether the device is inside", &netns.run(|| link::is_there(EQUALIZER))?, &true)?;
    drop((inside, netns));
    until("the device's return", || link::is_there(EQUALIZER))?;
    judge("whether the device is outside while its namespace lives", &listed, &false, &true)
}
