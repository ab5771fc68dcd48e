//! The kernel's log, for which Linux has no namespace.

use std::io::{Seek, SeekFrom};

use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::support::{LOG, judge, log_has, open_log, write};
use super::{Finding, Scenario, Trouble};
use crate::sandbox::{During, Sandbox};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&KMSG_WRITE];

const KMSG_WRITE: Scenario =
    Scenario::new("syslog.kmsg", "The kernel's log has no namespace: a line written inside can be read outside", kmsg)
        .shows(&["2h-v1", "3f"], "Documentation/ABI/testing/dev-kmsg")
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
