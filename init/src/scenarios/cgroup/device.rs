//! Devices: cgroup v2 has no files for them, but a hook for BPF programs.

use std::fs::File;

use nix::errno::Errno;

use super::super::support::{judge, known};
use super::super::{Finding, Probe, Scenario, Trouble};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{During, Sandbox, answer, refused};
use crate::sys::bpf::Program;

pub(super) const DEVICE: Scenario = Scenario::new(
    "cgroup.device",
    "A BPF program of type BPF_PROG_TYPE_CGROUP_DEVICE refuses devices to a cgroup",
    device,
)
.shows(&["later-limits"], "Documentation/admin-guide/cgroup-v2.rst, section Device controller")
.steps(&[
    "Outside: loads a program that refuses every access, and attaches it to a cgroup (BPF_CGROUP_DEVICE).",
    "Inside: enters the cgroup; open(2) of /dev/null must fail with EPERM.",
    "The control attaches no program: open(2) succeeds.",
])
.by_means_of("BPF_CGROUP_DEVICE")
.needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_BPF", "CONFIG_BPF_SYSCALL"], 4, 15, 0)
.probed_by(probe_device);

fn device(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(&[])?;
    if sandbox.applies() {
        let program = Program::no_device().during("bpf(BPF_PROG_LOAD)")?;
        let dir = File::open(cgroup.file("")).during("opening a cgroup")?;
        program.attach(&dir).during("bpf(BPF_PROG_ATTACH)")?;
    }
    let opened = sandbox.run(|| {
        cgroup.enter()?;
        Ok(answer("open(2)", File::open("/dev/null"))?.map(drop))
    })?;
    judge("open(/dev/null) inside", &opened, &refused(Errno::EPERM), &Ok(()))
}

/// ENOSYS: no bpf(2). EINVAL: the program's type is unknown.
fn probe_device() -> Result<Probe, Trouble> {
    let loaded = Program::no_device();
    known("bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE)", loaded, &[Errno::ENOSYS, Errno::EINVAL], &[])
}
