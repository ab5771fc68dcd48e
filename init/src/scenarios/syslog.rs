//! The kernel's log, for which Linux has no namespace.

use std::io::{Seek, SeekFrom};

use nix::errno::Errno;
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::support::{LOG, become_user, judge, known, log_has, open_log, read, write};
use super::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sandbox::{Code, During, Sandbox, refused};
use crate::sys::system::{clear_log, read_log};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&KMSG_WRITE, &READ, &RESTRICT];

const KMSG_WRITE: Scenario =
    Scenario::new("syslog.kmsg", "The kernel's log has no namespace: a line written inside can be read outside", kmsg)
        .shows(&["2h-v1", "3f"], "Documentation/ABI/testing/dev-kmsg")
        .steps(&[
            "Inside, with a new namespace of each kind but the user namespace: write a line to /dev/kmsg.",
            "Outside: read /dev/kmsg. The line is there, because the log has no namespace.",
        ])
        .inside(&[
            Namespace::Cgroup,
            Namespace::Ipc,
            Namespace::Uts,
            Namespace::Mount,
            Namespace::Net,
            Namespace::Time,
            Namespace::Pid,
        ])
        .needs(
            &[
                "CONFIG_PRINTK",
                "CONFIG_CGROUPS",
                "CONFIG_IPC_NS",
                "CONFIG_UTS_NS",
                "CONFIG_NET_NS",
                "CONFIG_TIME_NS",
                "CONFIG_PID_NS",
            ],
            5,
            6,
            0,
        )
        .leaks_by_design();

fn kmsg(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let mut log = open_log()?;
    log.seek(SeekFrom::End(0)).during("lseek(2) of /dev/kmsg")?;
    let line = format!("vmlab: written in a sandbox of process {}", getpid());
    // Level 7, which the console shows only if it shows everything.
    sandbox.run(|| write(LOG, &format!("<7>{line}\n")))?;
    judge("whether the line is in the log outside", &log_has(&mut log, &line)?, &false, &true)
}

const RESTRICTION: &str = "/proc/sys/kernel/dmesg_restrict";

const READ: Scenario = Scenario::new(
    "syslog.read",
    "Root of a user namespace may neither read nor clear the kernel's log: EPERM",
    read_inside,
)
.shows(&["2h-v1", "3f"], "syslog(2), and capabilities(7), CAP_SYSLOG")
.steps(&[
    "Set kernel.dmesg_restrict to 1.",
    "Inside: call syslog(2) with SYSLOG_ACTION_READ_ALL (3) and SYSLOG_ACTION_CLEAR (5). Both must fail with EPERM.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_PRINTK"], 3, 8, 0)
.probed_by(probe_log);

fn read_inside(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let _back = restrict(true)?;
    let answers = sandbox.run(|| Ok([read_log().map(drop).map_err(Code::from), clear_log().map_err(Code::from)]))?;
    judge("syslog(3) and syslog(5) inside", &answers, &[refused(Errno::EPERM); 2], &[Ok(()); 2])
}

/// Sets kernel.dmesg_restrict until the guard is dropped.
fn restrict(on: bool) -> Result<Undo<'static>, Trouble> {
    let before = read(RESTRICTION)?;
    let back = Undo::new("kernel.dmesg_restrict", move || write(RESTRICTION, &before));
    write(RESTRICTION, if on { "1" } else { "0" })?;
    Ok(back)
}

fn probe_log() -> Result<Probe, Trouble> {
    known("syslog(SYSLOG_ACTION_READ_ALL)", read_log(), &[Errno::ENOSYS], &[])
}

const RESTRICT: Scenario = Scenario::new(
    "syslog.restrict",
    "With kernel.dmesg_restrict=1, an ordinary user may not read the kernel's log: EPERM",
    restricted,
)
.shows(&["2h-v1", "3f"], "Documentation/admin-guide/sysctl/kernel.rst, section dmesg_restrict")
.steps(&[
    "Set kernel.dmesg_restrict to 1; in the control, to 0.",
    "User 1000 calls syslog(2) with SYSLOG_ACTION_READ_ALL. The call must fail with EPERM.",
])
.by_means_of("kernel.dmesg_restrict=1")
.needs(&["CONFIG_PRINTK"], 2, 6, 37)
.probed_by(probe_log);

fn restricted(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let _back = restrict(sandbox.applies())?;
    let answer = sandbox.run(|| {
        become_user(1000)?;
        Ok(read_log().map(drop).map_err(Code::from))
    })?;
    judge("syslog(3) of user 1000", &answer, &refused(Errno::EPERM), &Ok(()))
}
