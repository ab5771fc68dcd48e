//! The history of namespaces in the kernel's trace.

use std::fs;
use std::path::PathBuf;

use nix::sched::unshare;
use nix::sys::wait::waitpid;
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::{bits, flag};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::file::probe_file_system;
use crate::scenarios::support::{Scratch, exists, judge, mount_kind, note, read, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::create::Clone3;

/// A tracefs with an instance of its own, so that no other trace is disturbed. Dropping it removes the instance.
struct Trace {
    scratch: Scratch,
    instance: PathBuf,
}

impl Trace {
    fn new() -> Result<Self, Trouble> {
        let scratch = Scratch::new()?;
        mount_kind("tracefs", scratch.path(), None).during("mount(tracefs)")?;
        let instance = scratch.join("instances").join(format!("vmlab-{}", getpid()));
        let trace = Self { scratch, instance };
        fs::create_dir(&trace.instance).during("creating an instance of tracefs")?;
        Ok(trace)
    }

    fn enable(&self, event: &str) -> Result<(), Trouble> {
        write(self.instance.join("events").join(event).join("enable"), "1")
    }

    /// Whether a record has all of these texts in its line.
    fn has(&self, texts: &[&str]) -> Result<bool, Trouble> {
        let trace = read(self.instance.join("trace"))?;
        let found = trace.lines().find(|line| texts.iter().all(|text| line.contains(text)));
        if let Some(line) = found {
            note(line);
        }
        Ok(found.is_some())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // EBUSY as long as an event is enabled.
        let removed = write(self.instance.join("events/enable"), "0")
            .and_then(|()| fs::remove_dir(&self.instance).during("removing an instance of tracefs"));
        if let Err(trouble) = removed {
            crate::sandbox::undo::failed(format_args!("the trace below {}: {trouble}", self.scratch.path().display()));
        }
    }
}

/// Whether tracefs has this event.
fn probe_event(event: &str) -> Result<Probe, Trouble> {
    if let missing @ Probe::Missing(_) = probe_file_system("tracefs")? {
        return Ok(missing);
    }
    let trace = Trace::new()?;
    let path = trace.instance.join("events").join(event);
    Ok(if exists(&path)? { Probe::Available } else { Probe::Missing(format!("tracefs has no event {event}")) })
}

const NEWTASK_EVENT: &str = "task/task_newtask";

pub(super) const TASK_NEWTASK: Scenario = Scenario::new(
    "namespace.trace-clone",
    "The trace event task_newtask records each process with the namespace flags of its clone(2)",
    task_newtask,
)
.shows(&["1e"], "Documentation/trace/events.rst; include/trace/events/task.h")
.steps(&[
    "The subject enables the event task_newtask in an instance of tracefs.",
    "Calls clone3(2) with CLONE_NEWUTS and CLONE_PIDFD.",
    "The trace must have a record with the child's PID and clone_flags=4001000. In the control the trace has no such record.",
])
.by_means_of("the event task_newtask")
.needs(&["CONFIG_UTS_NS", "CONFIG_FTRACE"], 5, 3, 0)
.probed_by(|| probe_event(NEWTASK_EVENT));

fn task_newtask(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let trace = Trace::new()?;
    if sandbox.applies() {
        trace.enable(NEWTASK_EVENT)?;
    }
    let (child, _) = Clone3::with(bits(Namespace::Uts)).fork_with(|| 0).during("clone3(CLONE_NEWUTS)")?;
    waitpid(child, None).during("waitpid(2)")?;
    let record = ["task_newtask", &format!("pid={child} "), "clone_flags=4001000"];
    judge("whether the trace has the record of the clone", &trace.has(&record)?, &true, &false)
}

const UNSHARE_EVENT: &str = "syscalls/sys_enter_unshare";

pub(super) const UNSHARE: Scenario = Scenario::new(
    "namespace.trace-unshare",
    "The trace event sys_enter_unshare records who left which namespaces",
    unshare_event,
)
.shows(&["1e"], "Documentation/trace/events.rst; kernel/trace/trace_syscalls.c")
.steps(&[
    "The subject enables the event sys_enter_unshare in an instance of tracefs.",
    "Inside: a process calls unshare(CLONE_NEWUTS).",
    "The trace must have a record with this process's PID and the flag 4000000. In the control the trace has no such record.",
])
.by_means_of("the event sys_enter_unshare")
.needs(&["CONFIG_UTS_NS", "CONFIG_FTRACE_SYSCALLS"], 5, 3, 0)
.probed_by(|| probe_event(UNSHARE_EVENT));

fn unshare_event(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let trace = Trace::new()?;
    if sandbox.applies() {
        trace.enable(UNSHARE_EVENT)?;
    }
    let process: i32 = sandbox.run(|| {
        unshare(flag(Namespace::Uts)).during("unshare(CLONE_NEWUTS)")?;
        Ok(getpid().as_raw())
    })?;
    // Newer kernels write 0x before the number.
    let record = [&*format!("-{process} "), "sys_unshare(", "unshare_flags: ", "4000000)"];
    judge("whether the trace has the record of the call", &trace.has(&record)?, &true, &false)
}
