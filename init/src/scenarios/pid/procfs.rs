//! What a procfs shows in a PID namespace.

use std::fs;
use std::path::Path;

use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::support::{Scratch, decide, find_field, judge, read};
use super::{Finding, Probe, Scenario, Trouble, proc_options, with_child};
use crate::sandbox::{During, Sandbox};
use crate::sys::create::Clone3;

pub(super) const PROC: Scenario =
    Scenario::new("pid.proc", "A procfs mounted in a PID namespace shows that namespace's processes only", proc_list)
        .shows(&["2b"], "pid_namespaces(7), section /proc and PID namespaces")
        .steps(&[
            "Inside: mount a procfs and list its directories that are named by numbers.",
            "The list must consist of 1. In the control it names a process outside.",
        ])
        .inside(&[Namespace::Mount, Namespace::Pid])
        .needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 2, 6, 24);

fn proc_list(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = getpid().as_raw();
    let inside = sandbox.run(|| pids(Path::new("/proc")))?;
    let found = (inside == [1], inside.contains(&outside));
    decide("processes in /proc inside", &inside, found, format_args!("[1], or among others {outside}"))
}

/// The directories of a procfs that are named by numbers.
pub(super) fn pids(proc: &Path) -> Result<Vec<i32>, Trouble> {
    let entries = fs::read_dir(proc).during(format_args!("opening {}", proc.display()))?;
    let mut pids = Vec::<i32>::new();
    for entry in entries {
        let name = entry.during(format_args!("reading {}", proc.display()))?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(pids)
}

pub(super) const PROC_CALLER: Scenario = Scenario::new(
    "pid.proc-caller",
    "In a procfs of an outer PID namespace, a process has the PID of that namespace",
    proc_caller,
)
.shows(&["2b"], "pid_namespaces(7), section /proc and PID namespaces")
.steps(&[
    "Outside: mount a procfs. Inside: call getpid(2), and readlink(2) of the link `self` in this procfs.",
    "getpid(2) must return 1, and the link must be the PID that the process has outside.",
    "In the control there is one PID namespace, and both are equal.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 2, 6, 24);

fn proc_caller(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    proc_options::mount_proc(scratch.path(), None).during("mount(proc)")?;
    let link = scratch.join("self");
    let inside = sandbox.hold(|| {
        let target = fs::read_link(&link).during("readlink(self) inside")?;
        Ok((target.to_string_lossy().into_owned(), getpid().as_raw()))
    })?;
    let outer = inside.pid().as_raw();
    let (target, own) = inside.value();
    decide(
        "the link self of an outer procfs, the process's PID inside and outside",
        &(target, own, outer),
        (*target == outer.to_string() && *own == 1, *target == outer.to_string() && *own == outer),
        "the outer PID, and 1 or the outer PID",
    )
}

pub(super) const KTHREADS: Scenario = Scenario::new("pid.kthreads", "A PID namespace has no kernel threads", kthreads)
    .shows(&["2i-v1"], "proc_pid_stat(5), field flags")
    .steps(&[
        "Inside: read the flags of all processes in a procfs of the PID namespace.",
        "None of them may have PF_KTHREAD. In the control more than five have it.",
    ])
    .inside(&[Namespace::Mount, Namespace::Pid])
    .needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 2, 6, 24);

fn kthreads(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let count = sandbox.run(|| {
        let mut count = 0_usize;
        for pid in pids(Path::new("/proc"))? {
            // A process may have ended since.
            if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
                count += usize::from(is_kthread(&stat)?);
            }
        }
        Ok(count)
    })?;
    decide("kernel threads in /proc inside", &count, (count == 0, count > 5), "none, or more than 5")
}

/// Whether the flags of /proc/PID/stat have PF_KTHREAD (include/linux/sched.h).
fn is_kthread(stat: &str) -> Result<bool, Trouble> {
    const PF_KTHREAD: u64 = 0x0020_0000;
    // The second field is in parentheses and may contain spaces; the flags are the ninth field.
    let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6));
    let flags = flags.ok_or_else(|| Trouble::new(format_args!("/proc/PID/stat without flags: {stat}")))?;
    Ok(flags.parse::<u64>().during("reading the flags of /proc/PID/stat")? & PF_KTHREAD != 0)
}

pub(super) const KTHREAD_LINE: Scenario = Scenario::new(
    "pid.kthread-line",
    "PID 2 of a PID namespace is an ordinary process: /proc/PID/status says Kthread: 0",
    kthread_line,
)
.shows(&["2i-v1", "version-31"], "Documentation/filesystems/proc.rst, table of /proc/PID/status")
.steps(&[
    "Inside: the first process forks a child, and reads the line Kthread: of /proc/2/status.",
    "The line must say 0. In the control PID 2 is kthreadd, and the line says 1.",
])
.inside(&[Namespace::Mount, Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 6, 10, 0)
.probed_by(probe_kthread_line);

fn kthread_line(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let line = sandbox.run(|| with_child(&Clone3::default(), |_| kthread_of("2")))?;
    let says = |text: &str| Some(text.to_owned());
    judge("Kthread of /proc/2/status inside", &line, &says("0"), &says("1"))
}

fn kthread_of(process: &str) -> Result<Option<String>, Trouble> {
    find_field(&format!("/proc/{process}/status"), "Kthread:")
}

fn probe_kthread_line() -> Result<Probe, Trouble> {
    Ok(match kthread_of("self")? {
        Some(_) => Probe::Available,
        None => Probe::Missing("/proc/self/status has no line Kthread:".to_owned()),
    })
}

pub(super) const LOADAVG: Scenario = Scenario::new(
    "pid.loadavg",
    "The load average has no namespace: it counts the processes of the whole machine",
    loadavg,
)
.shows(&["3e"], "proc_loadavg(5)")
.steps(&[
    "Outside and inside: read /proc/loadavg of a procfs of one's own PID namespace.",
    "The three averages inside equal those outside, read before or after.",
    "The number of scheduling entities inside counts all threads of the machine, where the namespace has one.",
])
.inside(&[Namespace::Mount, Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 2, 6, 24)
.leaks_by_design();

fn loadavg(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = averages()?;
    let (inside, threads, own) = sandbox.run(|| {
        let (averages, rest) = averages_and_rest()?;
        let total = rest.split_once('/').and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<usize>().ok());
        let total = total.ok_or_else(|| Trouble::new(format_args!("/proc/loadavg ends with {rest}")))?;
        Ok((averages, total, pids(Path::new("/proc"))?.len()))
    })?;
    let equal = [before, averages()?].contains(&inside);
    decide(
        "the averages inside, whether they equal those outside, the threads that they count, and the processes inside",
        &(inside, equal, threads, own),
        (threads == 1, equal && threads > 5),
        "1 thread, or equal averages and more than 5 threads",
    )
}

fn averages() -> Result<String, Trouble> {
    averages_and_rest().map(|(averages, _)| averages)
}

/// The three averages, and the fields after them.
fn averages_and_rest() -> Result<(String, String), Trouble> {
    let text = read("/proc/loadavg")?;
    let mut fields = text.splitn(4, ' ');
    let averages = fields.by_ref().take(3).collect::<Vec<_>>().join(" ");
    let rest = fields.next().ok_or_else(|| Trouble::new(format_args!("/proc/loadavg has too few fields: {text}")))?;
    Ok((averages, rest.to_owned()))
}

pub(super) const LOADAVG_LAST: Scenario = Scenario::new(
    "pid.loadavg-last",
    "The last field of /proc/loadavg is the newest PID of the PID namespace",
    loadavg_last,
)
.shows(&["3e"], "proc_loadavg(5)")
.steps(&[
    "Inside: the only process reads the last field of /proc/loadavg of a procfs of its PID namespace.",
    "The field must be 1. In the control it is at least the PID of a process outside.",
])
.inside(&[Namespace::Mount, Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 2, 6, 24);

fn loadavg_last(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = getpid().as_raw();
    let last = sandbox.run(|| {
        let (_, rest) = averages_and_rest()?;
        let last = rest.rsplit(' ').next().unwrap_or_default();
        last.parse::<i32>().during(format_args!("reading the last field of {rest}"))
    })?;
    decide(
        "the last field of /proc/loadavg inside",
        &last,
        (last == 1, last > 1 && last >= outside),
        format_args!("1, or at least {outside}"),
    )
}
