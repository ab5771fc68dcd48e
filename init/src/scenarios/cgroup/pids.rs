//! The pids controller.

use std::io::{Read, pipe};

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::super::support::{decide, judge, require};
use super::super::{Finding, Scenario, Trouble};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{Answer, Code, During, Limit, Sandbox, refused};
use crate::sys::process::fork_with;

const SECTION: &str = "Documentation/admin-guide/cgroup-v2.rst, section PID";

pub(super) const EVENTS: Scenario =
    Scenario::new("cgroup.pids-events", "pids.events counts the forks that pids.max has refused", events)
        .shows(&["6b"], SECTION)
        .steps(&[
            "Creates a cgroup with pids.max of 3. Inside: enters it and forks three times.",
            "Outside: max in the cgroup's pids.events must be 1.",
            "The control has no limit: max is 0.",
        ])
        .in_cgroup(&[Limit { file: "pids.max", value: "3" }])
        .needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_PIDS"], 4, 8, 0);

fn events(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let cgroup = Cgroup::create(sandbox.limits())?;
    let forks = sandbox.run(|| {
        cgroup.enter()?;
        fork_together(3)
    })?;
    let count = cgroup.count("pids.events", "max")?;
    require("refused forks", &forks.iter().filter(|fork| fork.is_err()).count(), &usize::from(count > 0))?;
    decide("max of pids.events", &count, (count == 1, count == 0), "0 or 1")
}

pub(super) const MAX: Scenario =
    Scenario::new("cgroup.pids-max", "pids.max of a cgroup makes fork(2) fail with EAGAIN", max)
        .shows(&["6b"], SECTION)
        .steps(&[
            "Runs in a cgroup with pids.max of 4, in which two processes are.",
            "Inside: forks three children that live at the same time.",
            "Two calls of fork(2) must succeed, and the third one must fail with EAGAIN.",
            "The control runs in a cgroup without a limit: all three succeed.",
        ])
        // The keeper and the process inside count, so two forks are left.
        .in_cgroup(&[Limit { file: "pids.max", value: "4" }])
        .needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_PIDS"], 4, 5, 0);

fn max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let forks = sandbox.run(|| fork_together(3))?;
    judge("three fork(2) calls beside two processes", &forks, &third_refused(), &vec![Ok(()); 3])
}

/// The answers of three forks of which a limit allows two.
pub(super) fn third_refused() -> Vec<Answer> {
    vec![Ok(()), Ok(()), refused(Errno::EAGAIN)]
}

/// Forks `count` times; all children are alive at the same time.
pub(super) fn fork_together(count: usize) -> Result<Vec<Answer>, Trouble> {
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
