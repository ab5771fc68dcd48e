//! How deep namespaces nest.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};

use super::map_root;
use crate::sandbox::{Answer, Code, During, Sandbox, refused};
use crate::scenarios::support::judge;
use crate::scenarios::{Finding, Scenario, Trouble};
use crate::sys::process::fork_with;

/// More levels than there can be.
const DEEP: u8 = 40;
/// Few enough.
const FLAT: u8 = 8;

pub(super) const NEST_USER: Scenario = Scenario::new(
    "namespace.nest-user",
    "User namespaces nest 33 levels below the first, then unshare(2) fails with ENOSPC",
    nest_user,
)
.shows(&["biederman-7"], "user_namespaces(7), section Nested user namespaces, namespace membership")
.steps(&[
    "A process calls unshare(CLONE_NEWUSER) again and again, and maps user and group 0 each time.",
    "The subject asks for 40 levels: 33 are created, and the next call must fail with ENOSPC.",
    "The control asks for 8 levels and gets them.",
])
.by_means_of("more than 33 levels")
.needs(&["CONFIG_USER_NS"], 4, 9, 0)
.probed_by(|| Sandbox::none().with_namespaces(&[vmlab_protocol::catalogue::Namespace::User]).probe());

fn nest_user(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let levels = if sandbox.applies() { DEEP } else { FLAT };
    let reached: (u8, Answer) = sandbox.run(|| {
        for level in 0..levels {
            if let Err(errno) = unshare(CloneFlags::CLONE_NEWUSER) {
                return Ok((level, Err(Code::from(errno))));
            }
            map_root()?;
        }
        Ok((levels, Ok(())))
    })?;
    judge("levels of user namespaces, and the next call", &reached, &(33, refused(Errno::ENOSPC)), &(FLAT, Ok(())))
}

pub(super) const NEST_PID: Scenario = Scenario::new(
    "namespace.nest-pid",
    "PID namespaces nest 32 levels below the first, then unshare(2) fails with ENOSPC",
    nest_pid,
)
.shows(&["biederman-7"], "pid_namespaces(7), section Nesting PID namespaces")
.steps(&[
    "A process calls unshare(CLONE_NEWPID) and forks; its child does the same, and so on.",
    "The subject asks for 40 levels: 32 are created, and the next call must fail with ENOSPC.",
    "The control asks for 8 levels and gets them.",
])
.by_means_of("more than 32 levels")
.needs(&["CONFIG_PID_NS"], 4, 9, 0)
.probed_by(|| Sandbox::none().with_namespaces(&[vmlab_protocol::catalogue::Namespace::Pid]).probe());

/// Added to the exit code if the next level was refused with ENOSPC.
const NO_SPACE: u8 = 0x80;
/// An exit code for every other failure.
const FAILED: u8 = 0x7f;

fn nest_pid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let levels = if sandbox.applies() { DEEP } else { FLAT };
    let code: i32 = sandbox.run(|| {
        let first = fork_with(|| deeper(0, levels)).during("fork(2)")?;
        match waitpid(first, None).during("waitpid(2)")? {
            WaitStatus::Exited(_, code) => Ok(code),
            other => Err(Trouble::new(format_args!("a process in a nested PID namespace: {other:?}"))),
        }
    })?;
    let no_space = i32::from(NO_SPACE);
    let reached = (code & !no_space, if code & no_space == 0 { Ok(()) } else { refused(Errno::ENOSPC) });
    judge(
        "levels of PID namespaces, and the next call",
        &reached,
        &(32, refused::<()>(Errno::ENOSPC)),
        &(i32::from(FLAT), Ok(())),
    )
}

/// Goes down until `levels` is reached; returns how deep it came, as an exit code.
fn deeper(level: u8, levels: u8) -> u8 {
    if level == levels {
        return level;
    }
    match unshare(CloneFlags::CLONE_NEWPID) {
        Ok(()) => {}
        Err(Errno::ENOSPC) => return level | NO_SPACE,
        Err(_) => return FAILED,
    }
    let below = fork_with(|| deeper(level + 1, levels)).and_then(|child| waitpid(child, None));
    match below {
        Ok(WaitStatus::Exited(_, code)) => u8::try_from(code).unwrap_or(FAILED),
        _ => FAILED,
    }
}
