//! Cgroup namespaces and cgroup limits. For a limit, the subject's sandbox is a cgroup with the limit, without a
//! namespace.

use std::io::{Read, pipe};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use vmlab_protocol::catalogue::Namespace;

use super::support::{Scratch, decide, exists, judge, read, require};
use super::{Finding, Scenario, Trouble};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{Answer, Code, During, Limit, Sandbox, refused};
use crate::sys::process::fork_with;

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&CPU_MAX, &INIT_VIEW, &MEMORY_MAX, &MOUNT, &PIDS_MAX, &VIEW];

const CPU_MAX: Scenario =
    Scenario::new("cgroup.cpu-max", "cpu.max throttles a cgroup that has used up its quota of the period", cpu_max)
        .shows(&["5a"], "Documentation/admin-guide/cgroup-v2.rst, section CPU Interface Files")
        .in_cgroup(&[Limit { file: "cpu.max", value: "10000 100000" }])
        .needs(&["CONFIG_CGROUPS", "CONFIG_CFS_BANDWIDTH"], 4, 15, 0);

fn cpu_max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // The quota of five periods, used without a pause.
    const WORK: Duration = Duration::from_millis(50);
    let throttled = sandbox.run(|| {
        while Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).during("clock_gettime(2)")?) < WORK {}
        let stat = read(format!("/sys/fs/cgroup{}/cpu.stat", own_cgroup()?))?;
        let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        count.ok_or_else(|| Trouble::new("cpu.stat has no nr_throttled"))?.parse::<u64>().during("reading nr_throttled")
    })?;
    let found = (throttled > 0, throttled == 0);
    decide(&format!("periods in which {WORK:?} of work were throttled"), &throttled, found, "a number")
}

const INIT_VIEW: Scenario = Scenario::new(
    "cgroup.init-view",
    "The cgroup of a process outside the cgroup namespace is shown above the namespace's root",
    init_view,
)
.shows(&["biederman-4"], "cgroup_namespaces(7)")
.inside(&[Namespace::Cgroup])
.in_cgroup(&[])
.needs(&["CONFIG_CGROUPS", "CONFIG_NAMESPACES"], 4, 6, 0);

fn init_view(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = cgroup_of("1")?;
    let seen = sandbox.run(|| cgroup_of("1"))?;
    let above = format!("/..{}", outside.trim_end_matches('/'));
    judge("the cgroup of PID 1, seen inside", &seen, &above, &outside)
}

const MEMORY_MAX: Scenario =
    Scenario::new("cgroup.memory-max", "A process that exceeds its cgroup's memory.max is killed", memory_max)
        .shows(&["6a"], "Documentation/admin-guide/cgroup-v2.rst, section Memory Interface Files")
        .in_cgroup(&[Limit { file: "memory.max", value: "16M" }])
        .needs(&["CONFIG_CGROUPS", "CONFIG_MEMCG"], 4, 5, 0)
        .allowing(&[("memcg-oom: Memory cgroup out of memory", "the OOM killer enforces the limit")]);

fn memory_max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // Twice the limit. The smallest guest has enough memory for this outside of the cgroup.
    const TAKEN: usize = 32 << 20;
    const PAGE: usize = 4096;
    let ended = sandbox.run(|| {
        let child = fork_with(|| {
            let mut memory = vec![0_u8; TAKEN];
            // The kernel allocates a page at the first write.
            memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
            u8::from(std::hint::black_box(memory).iter().step_by(PAGE).any(|byte| *byte != 1))
        })
        .during("fork(2) inside")?;
        match waitpid(child, None).during("waitpid(2) inside")? {
            WaitStatus::Signaled(_, signal, _) => Ok(format!("killed by {signal}")),
            WaitStatus::Exited(_, code) => Ok(format!("exited with {code}")),
            other => Err(Trouble(format!("the process neither exited nor was killed: {other:?}"))),
        }
    })?;
    judge("the end of a process that took 32 MiB", &ended.as_str(), &"killed by SIGKILL", &"exited with 0")
}

const MOUNT: Scenario =
    Scenario::new("cgroup.mount", "A cgroup2 mount in a cgroup namespace begins at the namespace's root", mount_root)
        .shows(&["biederman-4"], "cgroup_namespaces(7)")
        .inside(&[Namespace::Cgroup, Namespace::Mount])
        .in_cgroup(&[])
        .needs(&["CONFIG_CGROUPS", "CONFIG_NAMESPACES"], 4, 6, 0);

fn mount_root(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let sibling = Cgroup::create(&[])?;
    let scratch = Scratch::new()?;
    let (mounted, shown) = sandbox.run(|| {
        mount(Some("vmlab"), scratch.path(), Some("cgroup2"), MsFlags::empty(), None::<&str>)
            .during("mount(cgroup2) inside")?;
        Ok((exists(&scratch.join("cgroup.procs"))?, exists(&scratch.join(sibling.path().trim_start_matches('/')))?))
    })?;
    require("whether cgroup2 is mounted inside", &mounted, &true)?;
    judge("whether the mount shows a sibling of the sandbox's cgroup", &shown, &false, &true)
}

const PIDS_MAX: Scenario =
    Scenario::new("cgroup.pids-max", "pids.max of a cgroup makes fork(2) fail with EAGAIN", pids_max)
        .shows(&["6b"], "Documentation/admin-guide/cgroup-v2.rst, section PID")
        // The keeper and the process inside count, so two forks are left.
        .in_cgroup(&[Limit { file: "pids.max", value: "4" }])
        .needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_PIDS"], 4, 5, 0);

fn pids_max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let forks = sandbox.run(|| fork_together(3))?;
    let (allowed, limited) = (vec![Ok(()); 3], vec![Ok(()), Ok(()), refused(Errno::EAGAIN)]);
    judge("three fork(2) calls beside two processes", &forks, &limited, &allowed)
}

/// Forks `count` times; all children are alive at the same time.
fn fork_together(count: usize) -> Result<Vec<Answer>, Trouble> {
    let (mut end, ender) = pipe().during("pipe(2)")?;
    let mut ender = Some(ender);
    let forks: Vec<Result<Pid, Code>> = (0..count)
        .map(|_| {
            let child = fork_with(|| {
                ender = None;
                // The read ends when the parent closes its end of the pipe or exits.
                u8::from(end.read(&mut [0]).is_err())
            });
            child.map_err(Code::from)
        })
        .collect();
    drop(ender);
    for child in forks.iter().flatten() {
        waitpid(*child, None).during("waitpid(2) inside")?;
    }
    Ok(forks.into_iter().map(|fork| fork.map(drop)).collect())
}

const VIEW: Scenario =
    Scenario::new("cgroup.view", "A process sees the root of its cgroup namespace as its own cgroup", view)
        .shows(&["biederman-4"], "cgroup_namespaces(7)")
        .inside(&[Namespace::Cgroup])
        .in_cgroup(&[])
        .needs(&["CONFIG_CGROUPS", "CONFIG_NAMESPACES"], 4, 6, 0);

fn view(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(own_cgroup)?;
    judge("the process's own cgroup, seen inside", &inside.value().as_str(), &"/", &inside.cgroup().as_str())
}

fn own_cgroup() -> Result<String, Trouble> {
    cgroup_of("self")
}

/// The third field of the v2 hierarchy's line in `/proc/PID/cgroup` (`cgroups(7)`).
fn cgroup_of(process: &str) -> Result<String, Trouble> {
    let file = format!("/proc/{process}/cgroup");
    let text = read(&file)?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.map(str::to_owned).ok_or_else(|| Trouble(format!("{file} has no line of the cgroup v2 hierarchy")))
}
