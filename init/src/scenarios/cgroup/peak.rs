//! The highest memory use of a cgroup, and its reset.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};

use nix::errno::Errno;

use super::super::support::{decide, known, require};
use super::super::{Finding, Probe, Scenario, Trouble};
use super::memory::take;
use crate::sandbox::cgroup::{self, Cgroup};
use crate::sandbox::{Code, During, Sandbox, answer};

const FILE: &str = "memory.peak";

pub(super) const PEAK: Scenario = Scenario::new(
    "cgroup.memory-peak",
    "A write to memory.peak resets the peak for the open file only, not for other readers",
    peak,
)
.shows(&["4e", "version-12"], "Documentation/admin-guide/cgroup-v2.rst, section Memory Interface Files")
.steps(&[
    "Inside: enters a cgroup, takes 16 MiB, and gives them back.",
    "Outside: memory.peak, opened twice, must be 16 MiB at least.",
    "Outside: writes to the first open file. It must then read less than 8 MiB, and the second one what it read before.",
    "The control writes nothing: both open files read 16 MiB.",
])
.by_means_of("a write to memory.peak")
.needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG"], 6, 12, 0)
.probed_by(probe_peak);

fn peak(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const TAKEN: usize = 16 << 20;
    // Less than all of it may be charged when the memory was written to: see MEMCG_CHARGE_BATCH.
    const HIGH: u64 = 15 << 20;
    const LOW: u64 = 8 << 20;
    let cgroup = Cgroup::create(&[])?;
    let _inside = sandbox.hold(|| {
        cgroup.enter()?;
        drop(take(TAKEN));
        Ok(())
    })?;
    let (mut own, mut other) =
        (open(&cgroup).during("opening memory.peak")?, open(&cgroup).during("opening memory.peak")?);
    let before = (number(&mut own)?, number(&mut other)?);
    require("whether memory.peak is 15 MiB at least", &(before.0 >= HIGH, before.1 >= HIGH), &(true, true))?;
    if sandbox.applies() {
        own.write_all(b"reset\n").during("writing to memory.peak")?;
    }
    let after = (number(&mut own)?, number(&mut other)?);
    require("memory.peak of the other open file", &after.1, &before.1)?;
    decide(
        "memory.peak of the open file, in bytes",
        &after.0,
        (after.0 < LOW, after.0 >= HIGH),
        "less than 8 MiB, or 15 MiB at least",
    )
}

fn open(cgroup: &Cgroup) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(cgroup.file(FILE))
}

/// Reads the file from its beginning.
fn number(file: &mut File) -> Result<u64, Trouble> {
    let mut text = String::new();
    file.rewind().during("lseek(2)")?;
    file.read_to_string(&mut text).during("reading memory.peak")?;
    text.trim_end().parse().during("reading the number in memory.peak")
}

/// Linux 5.19 has the file, but it cannot be written before 6.12.
fn probe_peak() -> Result<Probe, Trouble> {
    cgroup::probe_file(FILE)?.and(|| {
        let written = answer("write(2)", std::fs::write(Cgroup::create(&[])?.file(FILE), "reset\n"))?;
        known("write(memory.peak)", written.map_err(Code::errno), &[Errno::EINVAL], &[])
    })
}
