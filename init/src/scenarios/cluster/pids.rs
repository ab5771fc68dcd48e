//! PIDs in a cluster.

use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::super::support::{judge, read, require};
use super::super::{Finding, Scenario, Trouble};
use super::link::{self, Link};
use crate::sandbox::Sandbox;

/// The process that creates kernel threads has this PID on every machine (init/main.c, `rest_init`).
const KTHREADD: i32 = 2;

pub(super) const PIDS: Scenario = Scenario::new(
    "cluster.pids",
    "PIDs are per kernel, not per cluster: two machines have two processes with the same PID",
    pids,
)
.shows(&["7c"], "pid_namespaces(7)")
.steps(&[
    "Both guests: the first process of a new PID namespace reads its own PID.",
    "Both guests tell each other this PID and their boot id over the link between them.",
    "Two boot ids with the same PID are two processes; a cluster with PIDs of its own would use a PID once.",
    "The control compares PID 2, which is a kernel thread on every machine.",
])
.inside(&[Namespace::Pid])
.in_two_guests()
.with_modules(&["virtio_net"])
.needs(&["CONFIG_PID_NS", "CONFIG_INET", "CONFIG_VIRTIO_NET"], 2, 6, 24)
.probed_by(link::probe)
.leaks_by_design();

fn pids(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let link = Link::up(sandbox)?;
    let pid = sandbox.run(|| Ok(getpid().as_raw()))?;
    // Outside a PID namespace the PID depends on what ran before, so the control compares one that does not.
    let pid = if sandbox.namespaces().is_empty() { KTHREADD } else { pid };
    let boot = read("/proc/sys/kernel/random/boot_id")?;
    let (other_pid, other_boot) = link.exchange(&(pid, boot.clone()))?;
    require("whether the other guest is another machine", &(other_boot != boot), &true)?;
    judge(&format!("whether PID {pid} is used on both machines"), &(other_pid == pid), &false, &true)
}
