//! A process that counts is saved, and goes on counting in another process.

use nix::errno::Errno;
use vmlab_protocol::catalogue::Namespace;

use super::image::Counting;
use super::support::{decide, judge, require};
use super::{Finding, Scenario, Trouble, probe_set_tid};
use crate::sandbox::{Answer, Code, During, Sandbox, refused};

/// Where the process that is saved begins to count: further than any other process comes.
const FAR: u64 = 1 << 40;

pub(super) const COUNTER: Scenario = Scenario::new(
    "checkpoint.counter",
    "A counting process is saved and killed; a new one with its PID and memory counts on",
    counter,
)
.shows(&["7a"], "proc_pid_mem(5), ptrace(2), and clone(2), section The set_tid array")
.steps(&[
    "Inside: start a process that counts in its memory from 2^40 on and makes no system calls.",
    "Stop it with ptrace(PTRACE_INTERRUPT). Save its registers, and its writable memory from /proc/PID/mem and maps.",
    "Kill and reap it. Create a process with the same PID, by clone3(2) with set_tid, that counts from 0.",
    "Write the saved memory to its /proc/PID/mem and set the saved registers; in the control, do not.",
    "The new process must count on from the saved count. In the control it counts on from 0.",
])
.inside(&[Namespace::Mount, Namespace::Pid])
.control_inside(&[Namespace::Mount, Namespace::Pid])
.by_means_of("/proc/PID/mem")
.needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 5, 5, 0)
.probed_by(probe_set_tid);

fn counter(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let restores = sandbox.applies();
    let (saved, after) = sandbox.run(|| {
        let first = Counting::start(FAR, &[])?.during("clone3(2)")?;
        let image = first.dump()?;
        let pid = first.pid();
        drop(first);
        let second = Counting::start(0, &[pid])?.during("clone3(set_tid)")?;
        require("the PID of the new process", &second.pid(), &pid)?;
        if restores {
            second.restore(&image)?;
        }
        let least = if restores { image.count } else { second.count()? };
        Ok((image.count, second.wait_beyond(least)?))
    })?;
    decide(
        "the saved count, and a later count of the new process",
        &(saved, after),
        (saved > FAR && after > saved, after < FAR),
        "a larger count, or one that began at 0",
    )
}

pub(super) const MIGRATE: Scenario = Scenario::new(
    "checkpoint.migrate",
    "A process counts on in another PID namespace, with the PID that it still has outside",
    migrate,
)
.shows(&["7b", "3i"], "clone(2), section The set_tid array")
.steps(&[
    "Outside: start a process that counts, stop it, and save its memory and registers. It stays stopped.",
    "Inside: create a process with the same PID by clone3(2) with set_tid, and restore memory and registers.",
    "It must count on from the saved count. In the control the namespace is the same, and clone3(2) fails with EEXIST.",
])
.inside(&[Namespace::Mount, Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 5, 5, 0)
.probed_by(probe_set_tid);

fn migrate(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let original = Counting::start(FAR, &[])?.during("clone3(2)")?;
    let image = original.dump()?;
    let pid = original.pid();
    let counts_on: Answer<bool> = sandbox.run(|| {
        let copy = match Counting::start(0, &[pid])? {
            Ok(copy) => copy,
            Err(errno) => return Ok(Err(Code::from(errno))),
        };
        require("the PID of the copy", &copy.pid(), &pid)?;
        copy.restore(&image)?;
        Ok(Ok(copy.wait_beyond(image.count)? > FAR))
    })?;
    judge("whether the copy counts on", &counts_on, &Ok(true), &refused(Errno::EEXIST))
}
