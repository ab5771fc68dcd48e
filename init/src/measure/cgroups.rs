//! What the depth of a process's cgroup costs it.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;

use super::Measure;
use super::meter::{MOST, Meter, Operation, forks, in_child, settle, time};
use crate::sandbox::cgroup::{self, Limit, create_numbered_dir};
use crate::sandbox::{During, WAIT_LIMIT};
use crate::scenarios::{Trouble, Undo};

const ROOT: &str = "/sys/fs/cgroup";
/// The controllers of each cgroup: one that counts at each fork, one that counts at each page fault.
const CONTROLLERS: &str = "+memory +pids";
/// The size of a page of memory.
const PAGE_BYTES: usize = 4096;

pub(super) const CGROUPS: Measure = Measure {
    id: "measure.cgroups",
    title: "The cost of fork(2) and of a page fault in a cgroup of depth 1, 4 and 16",
    steps: &[
        "In a cgroup of this depth with the controllers memory and pids: the time of a loop that forks and reaps a process, \
         and of a loop that writes to new pages of memory.",
        "Baseline: the same in the root cgroup.",
    ],
    source: "Documentation/admin-guide/cgroup-v2.rst",
    config: &["CONFIG_CGROUPS", "CONFIG_MEMCG", "CONFIG_CGROUP_PIDS"],
    since: (4, 5, 0),
    modules: &[],
    cpus: 1,
    probe: || cgroup::probe(&[Limit { file: "memory.max", value: "max" }, Limit { file: "pids.max", value: "max" }]),
    measure: cgroups,
};

fn cgroups(meter: &mut Meter) -> Result<(), Trouble> {
    for depth in [1, 4, 16] {
        let dirs = nested(depth)?;
        let _removed = Undo::new("the nested cgroups", || remove(&dirs));
        let Some(deepest) = dirs.last() else { continue };
        for (name, act) in
            [("fork, exit and wait", forks as fn(u64) -> Result<u64, Trouble>), ("page fault", page_faults)]
        {
            let shared = meter.shared();
            let mut in_there = |times| {
                in_child(&shared, || {
                    fs::write(deepest.join("cgroup.procs"), "0").during("moving a process into a cgroup")?;
                    act(1)?;
                    act(times)
                })
            };
            let mut out_here = |times| {
                in_child(&shared, || {
                    fs::write(Path::new(ROOT).join("cgroup.procs"), "0").during("moving a process into a cgroup")?;
                    act(1)?;
                    act(times)
                })
            };
            meter.compare(
                Operation::new(format!("{name}, depth {depth}"), &mut in_there),
                Operation::new("the same in the root cgroup", &mut out_here),
            )?;
        }
    }
    Ok(())
}

/// Creates cgroups in each other; the deepest comes last.
fn nested(depth: usize) -> Result<Vec<PathBuf>, Trouble> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    for _ in 0..depth {
        let dir = match dirs.last() {
            None => create_numbered_dir(Path::new(ROOT))?,
            Some(parent) => {
                let control = parent.join("cgroup.subtree_control");
                fs::write(&control, CONTROLLERS).during(format_args!("writing to {}", control.display()))?;
                create_numbered_dir(parent)?
            }
        };
        dirs.push(dir);
    }
    Ok(dirs)
}

/// Removes them. A process that was reaped may stay in its cgroup for a moment (`EBUSY`).
fn remove(dirs: &[PathBuf]) -> Result<(), Trouble> {
    let began = Instant::now();
    for dir in dirs.iter().rev() {
        loop {
            match fs::remove_dir(dir) {
                Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) && began.elapsed() < WAIT_LIMIT => {
                    settle();
                }
                removed => break removed.during(format_args!("rmdir({})", dir.display()))?,
            }
        }
    }
    Ok(())
}

/// The time of writing to so many new pages.
fn page_faults(times: u64) -> Result<u64, Trouble> {
    let pages = usize::try_from(times.clamp(1, MOST)).during("the number of pages")?;
    // A new mapping, whose pages come with the first write to each. Smaller ones would come from the heap.
    let mut memory = vec![0_u8; (pages + 64) * PAGE_BYTES];
    time(|| {
        memory.chunks_mut(PAGE_BYTES).take(pages).filter_map(<[u8]>::first_mut).for_each(|byte| *byte = 1);
        black_box(&mut memory);
        Ok(())
    })
}
